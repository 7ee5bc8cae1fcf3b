import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from jax import lax

from vjax.layers.conv import space_time_conv
from vjax.layers.depthwise import DepthwiseConv, depthwise_conv

# Every step of shrinking would compile another program.
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
# XLA takes longer to optimise these programs than to run them.
UNOPTIMISED = {"xla_backend_optimization_level": 0}


def reference(x, kernel, strides, pad):
    padding = "SAME" if pad == "same" else [((size - 1) // 2, size // 2) for size in kernel.shape[:3]]
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=("NDHWC", "DHWIO", "NDHWC"), feature_group_count=x.shape[-1]
    )


def ours(x, kernel, strides, pad):
    return depthwise_conv(x, kernel, strides=strides, pad=pad)


def draw_arrays(seed, *shapes, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def output_and_gradients(conv, x, kernel, strides, pad):
    @functools.partial(jax.jit, compiler_options=UNOPTIMISED)
    def run(x, kernel, weights):
        out, pull = jax.vjp(lambda x, kernel: conv(x, kernel, strides, pad), x, kernel)
        return out, *pull(weights)

    out = jax.eval_shape(lambda: conv(x, kernel, strides, pad))
    return run(x, kernel, *draw_arrays(1, out.shape, dtype=x.dtype))


def assert_same_convolution(x, kernel, strides, pad, *, tolerance):
    found = output_and_gradients(ours, x, kernel, strides, pad)
    expected = output_and_gradients(reference, x, kernel, strides, pad)
    for part, a, b in zip(("output", "input gradient", "kernel gradient"), found, expected, strict=True):
        chex.assert_equal_shape([a, b])
        assert a.dtype == b.dtype == x.dtype
        error = np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)
        assert error < tolerance, f"{part} is off by {error}"


# Clips have one frame or more, so many are shorter than the kernel; a stride can exceed the kernel, too.
convolutions = {
    "x_shape": st.tuples(*[st.integers(1, n) for n in (2, 6, 7, 7)], st.sampled_from([1, 2, 5])),
    "kernel_size": st.tuples(*[st.integers(1, n) for n in (5, 5, 4)]),
    "strides": st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    "pad": st.sampled_from(["centered", "same"]),
    "seed": st.integers(0, 2**16),
}


@given(**convolutions)
@settings(deadline=None, max_examples=15, phases=NO_SHRINKING)
def test_the_convolution_and_its_gradients_are_those_of_lax_to_the_last_digits(
    x_shape, kernel_size, strides, pad, seed
):
    with jax.enable_x64(True):
        x, kernel = draw_arrays(seed, x_shape, (*kernel_size, 1, x_shape[-1]), dtype=np.float64)
        assert_same_convolution(x, kernel, strides, pad, tolerance=1e-12)


@pytest.mark.parametrize("pad", ["centered", "same"])
@pytest.mark.parametrize(
    ("x_shape", "kernel_size", "strides"),
    [
        ((2, 1, 14, 15, 8), (1, 5, 5), (1, 1, 1)),
        ((2, 1, 14, 15, 8), (1, 5, 5), (1, 2, 2)),
        ((2, 5, 10, 10, 4), (3, 3, 3), (1, 1, 1)),
        ((1, 5, 10, 10, 4), (3, 3, 3), (1, 2, 2)),
    ],
)
def test_the_convolution_and_its_gradients_are_those_of_lax_in_float32(x_shape, kernel_size, strides, pad):
    x, kernel = draw_arrays(0, x_shape, (*kernel_size, 1, x_shape[-1]))
    assert_same_convolution(x, kernel, strides, pad, tolerance=1e-5)


def test_without_strides_both_ways_to_pad_are_the_same():
    x, kernel = draw_arrays(0, (1, 4, 5, 6, 2), (4, 3, 5, 1, 2))
    np.testing.assert_array_equal(ours(x, kernel, (1, 1, 1), "same"), ours(x, kernel, (1, 1, 1), "centered"))


@pytest.mark.parametrize(("size", "first"), [(8, 0), (9, -1)])
def test_same_padding_shifts_by_one_between_even_and_odd_sizes(size, first):
    x = np.arange(1.0, size + 1, dtype=np.float32).reshape(1, 1, 1, size, 1)
    pick_first_tap = np.array([1.0, 0, 0], np.float32).reshape(1, 1, 3, 1, 1)
    found = ours(x, pick_first_tap, (1, 1, 2), "same").ravel()
    expected = [0 if place < 0 else place + 1 for place in range(first, size - 1, 2)]
    np.testing.assert_array_equal(found[: len(expected)], expected)


def test_a_channel_sees_itself_alone():
    x, kernel = draw_arrays(0, (1, 3, 5, 5, 3), (3, 3, 3, 1, 3))
    whole = ours(x, kernel, (1, 2, 2), "centered")
    for channel in range(3):
        alone = space_time_conv(x[..., channel : channel + 1], kernel[..., channel : channel + 1], strides=(1, 2, 2))
        np.testing.assert_allclose(whole[..., channel : channel + 1], alone, rtol=1e-5, atol=1e-5)


def test_a_mapped_convolution_does_what_a_loop_does():
    x, kernel = draw_arrays(0, (3, 2, 2, 5, 5, 4), (3, 1, 3, 3, 1, 4))

    def both(x, kernel):
        out, pull = jax.vjp(lambda x, kernel: ours(x, kernel, (1, 2, 2), "same"), x, kernel)
        return out, *pull(jnp.cos(out))

    found = jax.jit(jax.vmap(both))(x, kernel)
    for i in range(3):
        expected = jax.jit(both)(x[i], kernel[i])
        chex.assert_trees_all_close(jax.tree.map(lambda leaf, i=i: leaf[i], found), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("platform", "num_convolutions"), [("cuda", 1), ("tpu", 1), ("cpu", 0)])
def test_an_accelerator_is_given_one_grouped_convolution_and_a_cpu_none(platform, num_convolutions):
    x, kernel = draw_arrays(0, (2, 4, 6, 6, 8), (3, 3, 3, 1, 8))
    traced = jax.jit(ours, static_argnums=(2, 3)).trace(x, kernel, (1, 1, 1), "same")
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert len(re.findall(r"stablehlo\.convolution", text)) == num_convolutions
    assert len(re.findall(r"feature_group_count = 8", text)) == num_convolutions


def test_half_precision_is_computed_in_float32_on_a_cpu():
    x, kernel = (jnp.asarray(array, jnp.bfloat16) for array in draw_arrays(0, (2, 1, 9, 9, 8), (1, 5, 5, 1, 8)))
    run = jax.jit(ours, static_argnums=(2, 3))
    exact = run(x.astype(jnp.float32), kernel.astype(jnp.float32), (1, 2, 2), "same")
    found = run(x, kernel, (1, 2, 2), "same")
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))


def test_the_layer_has_one_kernel_for_each_channel_drawn_by_its_own_number_of_inputs():
    layer = DepthwiseConv((3, 5, 5), (1, 2, 2))
    variables = jax.jit(layer.init)(jax.random.key(0), jnp.zeros((1, 4, 6, 7, 400)))
    chex.assert_shape(variables["params"]["kernel"], (3, 5, 5, 1, 400))
    assert abs(float(variables["params"]["kernel"].std()) / (2 / 75) ** 0.5 - 1) < 0.02


def test_the_layer_computes_in_its_dtype_and_keeps_its_parameters_in_float32():
    layer = DepthwiseConv((1, 3, 3), (1, 2, 2), pad="same", dtype=jnp.bfloat16)
    out, variables = jax.eval_shape(
        lambda x: layer.init_with_output(jax.random.key(0), x), jnp.zeros((2, 3, 9, 8, 4), jnp.float32)
    )
    assert (out.shape, out.dtype) == ((2, 3, 5, 4, 4), jnp.bfloat16)
    assert variables["params"]["kernel"].dtype == jnp.float32
