import functools
import os
import re
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from jax import lax

from vjax.models.conv import Conv, max_pool, space_time_conv

# Every step of shrinking would compile anew.
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)


def reference(x, kernel, strides):
    padding = [((size - 1) // 2, size // 2) for size in kernel.shape[:3]]
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))


def ours(x, kernel, strides):
    return space_time_conv(x, kernel, strides=strides)


def draw_arrays(seed, *shapes, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def output_and_gradients(conv, x, kernel, strides, seed):
    # XLA takes longer to optimise a program of this size than to run it.
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def run(x, kernel, weights):
        out, pull = jax.vjp(lambda x, kernel: conv(x, kernel, strides), x, kernel)
        return out, *pull(weights)

    out = jax.eval_shape(lambda: conv(x, kernel, strides))
    return run(x, kernel, *draw_arrays(seed + 1, out.shape, dtype=x.dtype))


def assert_same_convolution(x_shape, kernel_shape, strides, seed, *, dtype, tolerance):
    x, kernel = draw_arrays(seed, x_shape, kernel_shape, dtype=dtype)
    found = output_and_gradients(ours, x, kernel, strides, seed)
    expected = output_and_gradients(reference, x, kernel, strides, seed)
    for part, a, b in zip(("output", "input gradient", "kernel gradient"), found, expected, strict=True):
        chex.assert_equal_shape([a, b])
        assert a.dtype == b.dtype == dtype
        error = np.abs(a - b).max() / np.abs(b).max()
        assert error < tolerance, f"{part} is off by {error}"


# Clips from one frame on, so that many are shorter than the kernel; channels on both sides of the number at which
# the convolution changes its form.
convolutions = {
    "x_shape": st.tuples(*[st.integers(1, n) for n in (2, 6, 6, 6)], st.sampled_from([1, 2, 3, 6, 9, 17])),
    "kernel_size": st.tuples(*[st.integers(1, n) for n in (5, 4, 4)]),
    "features": st.integers(1, 3),
    "strides": st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    "seed": st.integers(0, 2**16),
}


@given(**convolutions)
@settings(deadline=None, max_examples=15, phases=NO_SHRINKING)
def test_the_convolution_and_its_gradients_are_those_of_lax_to_the_last_digits(
    x_shape, kernel_size, features, strides, seed
):
    kernel_shape = (*kernel_size, x_shape[-1], features)
    with jax.enable_x64(True):
        assert_same_convolution(x_shape, kernel_shape, strides, seed, dtype=np.float64, tolerance=1e-12)


@pytest.mark.parametrize(
    ("kernel_size", "strides"),
    [
        ((1, 3, 3), (1, 1, 1)),
        ((3, 3, 3), (1, 1, 1)),
        ((3, 7, 7), (1, 2, 2)),
        ((3, 3, 3), (2, 2, 2)),
        ((1, 1, 1), (2, 2, 2)),
    ],
)
@pytest.mark.parametrize("num_frames", [1, 5])
@pytest.mark.parametrize("channels", [3, 8])
def test_the_convolution_and_its_gradients_are_those_of_lax_in_float32(channels, num_frames, kernel_size, strides):
    x_shape, kernel_shape = (2, num_frames, 8, 7, channels), (*kernel_size, channels, 4)
    assert_same_convolution(x_shape, kernel_shape, strides, 0, dtype=np.float32, tolerance=1e-5)


@pytest.mark.parametrize("channels", [3, 16])
def test_the_convolution_is_the_same_with_and_without_jit(channels):
    x, kernel = draw_arrays(0, (2, 4, 6, 6, channels), (3, 3, 3, channels, 4))
    plain = space_time_conv(x, kernel, strides=(2, 1, 1))
    jitted = jax.jit(ours, static_argnums=2)(x, kernel, (2, 1, 1))
    np.testing.assert_allclose(plain, jitted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("mapped", "channels"), [("clips", 2), ("kernels", 2), ("both", 2), ("both", 8)])
def test_a_mapped_convolution_does_what_a_loop_does(mapped, channels):
    x, kernel = draw_arrays(0, (3, 2, 4, 5, 5, channels), (3, 3, 3, 3, channels, 4))
    in_axes = (0 if mapped != "kernels" else None, 0 if mapped != "clips" else None)

    def output_and_gradients_of_one(x, kernel):
        out, pull = jax.vjp(lambda x, kernel: ours(x, kernel, (2, 2, 2)), x, kernel)
        return out, *pull(jnp.cos(out))

    args = [array if axis == 0 else array[0] for array, axis in zip((x, kernel), in_axes, strict=True)]
    found = jax.jit(jax.vmap(output_and_gradients_of_one, in_axes))(*args)
    for i in range(3):
        one = [array[i] if axis == 0 else array[0] for array, axis in zip((x, kernel), in_axes, strict=True)]
        expected = jax.jit(output_and_gradients_of_one)(*one)
        chex.assert_trees_all_close(jax.tree.map(lambda leaf, i=i: leaf[i], found), expected, rtol=1e-4, atol=1e-4)


@given(kernel_frames=st.integers(1, 5), shift=st.integers(1, 4), seed=st.integers(0, 2**16))
@settings(deadline=None, max_examples=12, phases=NO_SHRINKING)
def test_the_convolution_shifts_with_time_away_from_the_borders(kernel_frames, shift, seed):
    x, kernel = draw_arrays(seed, (1, 10, 4, 4, 2), (kernel_frames, 3, 3, 2, 3))
    out = np.asarray(space_time_conv(x, kernel))
    shifted = np.asarray(space_time_conv(np.roll(x, shift, axis=1), kernel))
    border = kernel_frames // 2
    np.testing.assert_allclose(
        shifted[:, border + shift : 10 - border], out[:, border : 10 - border - shift], rtol=1e-5
    )


def lowered_convolutions(platform, channels):
    """The ranks of the inputs of the convolutions that a platform is given."""
    x, kernel = draw_arrays(0, (2, 4, 6, 6, channels), (3, 3, 3, channels, 4))
    text = jax.jit(ours, static_argnums=2).trace(x, kernel, (1, 1, 1)).lower(lowering_platforms=(platform,)).as_text()
    types = re.findall(r"stablehlo\.convolution.*: \(tensor<([^>]*)>", text)
    return [len(kind.split("x")) - 1 for kind in types]


@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_an_accelerator_is_given_one_3d_convolution(platform, channels):
    assert lowered_convolutions(platform, channels) == [5]


@pytest.mark.parametrize("channels", [3, 16])
def test_a_cpu_is_given_2d_convolutions_alone(channels):
    assert set(lowered_convolutions("cpu", channels)) == {4}


SHARDED = """
import jax, numpy as np
from vjax import mesh as meshes
from vjax.models.conv import space_time_conv

assert jax.device_count() == 8, jax.devices()
rng = np.random.default_rng(0)
x = rng.normal(size=(8, 4, 6, 6, 8)).astype(np.float32)
kernel = rng.normal(size=(3, 3, 3, 8, 4)).astype(np.float32)

@jax.jit
def run(x, kernel):
    out, pull = jax.vjp(lambda x, kernel: space_time_conv(x, kernel, strides=(2, 2, 2)), x, kernel)
    return out, *pull(jax.numpy.cos(out))

answers = {}
for count in (1, 8):
    mesh = meshes.make_mesh(jax.devices()[:count])
    rows, whole = meshes.put_batch(x, mesh), jax.device_put(kernel, meshes.replicated(mesh))
    answers[count] = run(rows, whole)
    assert {shard.data.shape[0] for shard in answers[count][0].addressable_shards} == {8 // count}
for one, eight in zip(answers[1], answers[8], strict=True):
    np.testing.assert_allclose(one, eight, rtol=1e-4, atol=1e-4)
print("the same on eight devices")
"""


def test_the_convolution_is_the_same_on_eight_devices_as_on_one():
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", SHARDED], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the same on eight devices\n"


def test_the_layer_is_the_convolution_with_its_kernel_and_no_bias():
    x, kernel = draw_arrays(0, (2, 4, 6, 6, 3), (3, 1, 3, 3, 5))
    layer, variables = Conv(5, (3, 1, 3), (2, 1, 2)), {"params": {"kernel": kernel}}
    chex.assert_trees_all_equal_shapes(jax.eval_shape(layer.init, jax.random.key(0), x), variables)
    expected = reference(x, kernel, (2, 1, 2))
    np.testing.assert_allclose(jax.jit(layer.apply)(variables, x), expected, rtol=1e-5, atol=1e-5)


def test_the_layer_computes_in_its_dtype_and_keeps_its_kernel_in_float32():
    (x,) = draw_arrays(0, (2, 4, 6, 6, 3))
    layer = Conv(4, (3, 3, 3), dtype=jnp.bfloat16)
    out, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), x)
    assert out.dtype == jnp.bfloat16
    assert variables["params"]["kernel"].dtype == jnp.float32


windows = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))


def pool_inputs(window, outs, rest, seed):
    """Values with ties in a clip whose sizes are `outs` windows and a rest, and the part that fills windows."""
    kept = [size * out for size, out in zip(window, outs, strict=True)]
    sizes = [size + min(extra, w - 1) for size, extra, w in zip(kept, rest, window, strict=True)]
    x = np.random.default_rng(seed).integers(-3, 4, (2, *sizes, 2)).astype(np.float32)
    return x, (slice(None), *map(slice, kept))


@given(window=windows, outs=windows, rest=st.tuples(*[st.integers(0, 2)] * 3), seed=st.integers(0, 2**16))
@settings(deadline=None, max_examples=12, phases=NO_SHRINKING)
def test_max_pool_is_that_of_lax_on_whole_windows_and_drops_the_rest(window, outs, rest, seed):
    x, whole = pool_inputs(window, outs, rest, seed)
    expected = lax.reduce_window(x[whole], -np.inf, lax.max, (1, *window, 1), (1, *window, 1), "VALID")
    dropped = np.full_like(x, np.inf)
    dropped[whole] = x[whole]
    chex.assert_shape(expected, (2, *outs, 2))
    np.testing.assert_array_equal(max_pool(jnp.asarray(dropped), window), expected)


@given(window=windows, outs=windows, rest=st.tuples(*[st.integers(0, 2)] * 3), seed=st.integers(0, 2**16))
@settings(deadline=None, max_examples=12, phases=NO_SHRINKING)
def test_the_gradient_of_max_pool_reaches_the_maxima_alone_and_all_of_it_does(window, outs, rest, seed):
    x, whole = pool_inputs(window, outs, rest, seed)
    (weights,) = draw_arrays(seed, (2, *outs, 2))
    pooled, pull = jax.vjp(jax.jit(lambda x: max_pool(x, window)), x)
    (grad,) = pull(weights)
    assert np.isfinite(grad).all()
    largest = np.full_like(x, np.inf)
    largest[whole] = np.kron(pooled, np.ones((1, *window, 1)))
    assert (np.asarray(grad)[x < largest] == 0).all()
    arrived = lax.reduce_window(grad[whole], 0.0, lax.add, (1, *window, 1), (1, *window, 1), "VALID")
    np.testing.assert_allclose(arrived, weights, rtol=1e-4, atol=1e-5)
