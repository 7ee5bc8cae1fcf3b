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

from vjax.layers import conv_forms, winograd
from vjax.layers.conv import Conv, on_cpu, space_time_conv

# Every step of shrinking would compile another program.
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


# Clips have one frame or more, so many are shorter than the kernel. The numbers of channels lie on both sides of those
# at which the convolution changes its form.
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
    """Returns the input ranks of the convolutions in the program for a platform."""
    x, kernel = draw_arrays(0, (2, 4, 6, 6, channels), (3, 3, 3, channels, 4))
    text = jax.jit(ours, static_argnums=2).trace(x, kernel, (1, 1, 1)).lower(lowering_platforms=(platform,)).as_text()
    types = re.findall(r"stablehlo\.convolution.*: \(tensor<([^>]*)>", text)
    return [len(kind.split("x")) - 1 for kind in types]


@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_an_accelerator_is_given_one_3d_convolution(platform, channels):
    assert lowered_convolutions(platform, channels) == [5]


@pytest.mark.parametrize("channels", [3, 16])
def test_a_cpu_is_never_given_a_3d_convolution(channels):
    assert 5 not in lowered_convolutions("cpu", channels)


# One layer for each combination of forms in `on_cpu`, as small as that allows: shapes of x and kernel, strides, forms.
LAYERS = {
    "three wide": ((2, 8, 17, 32, 32), (3, 3, 3, 32, 64), (1, 1, 1), "convolve input_gradient kernel_gradient"),
    "three wide in 2D": ((8, 3, 24, 25, 64), (1, 3, 3, 64, 64), (1, 1, 1), "convolve input_gradient kernel_gradient"),
    "three deep": ((2, 9, 32, 32, 96), (3, 1, 1, 96, 64), (1, 1, 1), "convolve input_gradient kernel_gradient"),
    "first layer": (
        (2, 8, 16, 16, 3),
        (3, 7, 7, 3, 16),
        (1, 2, 2),
        "stacked_taps input_gradient_by_phases kernel_gradient",
    ),
    "small": (
        (4, 4, 8, 8, 16),
        (3, 3, 3, 16, 32),
        (1, 1, 1),
        "sum_of_taps input_gradient_by_turned_taps kernel_gradient",
    ),
    "first layer in 2D": (
        (8, 1, 16, 20, 3),
        (1, 3, 3, 3, 16),
        (1, 1, 1),
        "products_of_windows input_gradient_by_turned_taps kernel_gradient_by_windows",
    ),
    "first layer in 3D": (
        (2, 4, 16, 18, 3),
        (3, 3, 3, 3, 16),
        (1, 1, 1),
        "stacked_taps input_gradient_by_turned_taps kernel_gradient_by_windows",
    ),
    "second layer in 2D": (
        (8, 1, 12, 16, 16),
        (1, 3, 3, 16, 32),
        (1, 1, 1),
        "sum_of_taps input_gradient_by_turned_taps kernel_gradient_by_windows",
    ),
    "few positions": (
        (1, 2, 7, 7, 64),
        (3, 3, 3, 64, 64),
        (1, 1, 1),
        "products_of_rows input_gradient_by_phases kernel_gradient",
    ),
    "strided": (
        (2, 5, 9, 9, 32),
        (3, 3, 3, 32, 48),
        (2, 2, 2),
        "products_of_rows input_gradient_by_phases kernel_gradient",
    ),
    "projection": (
        (2, 5, 9, 9, 32),
        (1, 1, 1, 32, 48),
        (2, 2, 2),
        "products_of_rows input_gradient_by_phases kernel_gradient",
    ),
}


@pytest.mark.optimised
@pytest.mark.parametrize("layer", LAYERS)
def test_each_row_of_the_table_is_the_convolution_in_float64_to_float32s_last_digits(layer):
    x_shape, kernel_shape, strides, forms = LAYERS[layer]
    assert [
        form.func.__name__ if hasattr(form, "func") else form.__name__
        for form in on_cpu(x_shape, kernel_shape, strides)
    ] == forms.split()
    x, kernel = draw_arrays(0, x_shape, kernel_shape)
    found = output_and_gradients(ours, x, kernel, strides, 0)
    with jax.enable_x64(True):
        (weights,) = draw_arrays(1, found[0].shape)
        out, pull = jax.vjp(lambda x, kernel: reference(x, kernel, strides), x.astype(float), kernel.astype(float))
        expected = [np.asarray(part) for part in (out, *pull(weights.astype(float)))]
    for part, a, b in zip(("output", "input gradient", "kernel gradient"), found, expected, strict=True):
        error = np.linalg.norm(np.asarray(a) - b) / np.linalg.norm(b)
        assert error < 1e-6, f"the {part} is off by {error}"


three_wide = {
    "x_shape": st.tuples(*[st.integers(1, n) for n in (2, 6, 7, 7)], st.integers(1, 3)),
    "axes": st.sampled_from([(1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)]),
    "features": st.integers(1, 3),
    "seed": st.integers(0, 2**16),
}


@given(**three_wide)
@settings(deadline=None, max_examples=15, phases=NO_SHRINKING)
def test_winograds_forms_are_the_convolution_and_its_gradients_along_any_axes(x_shape, axes, features, seed):
    kernel_shape = (*[3 if axis in axes else 1 for axis in (1, 2, 3)], x_shape[-1], features)
    with jax.enable_x64(True):
        arrays = draw_arrays(seed, x_shape, kernel_shape, (*x_shape[:-1], features), dtype=np.float64)

        @jax.jit  # one program instead of one for every operation
        def both(x, kernel, grad):
            out, pull = jax.vjp(lambda x, kernel: reference(x, kernel, (1, 1, 1)), x, kernel)
            to_kernel = winograd.kernel_gradient(x, grad, kernel_shape=kernel_shape, strides=(1, 1, 1), axes=axes)
            found = (
                winograd.convolve(x, kernel, axes=axes), winograd.input_gradient(grad, kernel, axes=axes), to_kernel
            )  # fmt: skip
            return found, (out, *pull(grad))

        found, expected = both(*arrays)
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-11), found, expected)


FORMS = {
    "native": conv_forms.native,
    "stacked_taps": conv_forms.stacked_taps,
    "sum_of_taps": conv_forms.sum_of_taps,
    "products_of_rows": conv_forms.products_of_rows,
}


@pytest.mark.parametrize("form", FORMS)
@given(**convolutions)
@settings(deadline=None, max_examples=8, phases=NO_SHRINKING)
def test_every_form_is_the_convolution(form, x_shape, kernel_size, features, strides, seed):
    with jax.enable_x64(True):
        x, kernel = draw_arrays(seed, x_shape, (*kernel_size, x_shape[-1], features), dtype=np.float64)
        found = FORMS[form](x, kernel, strides=strides)
        np.testing.assert_allclose(found, reference(x, kernel, strides), atol=1e-11)


windowed = {
    "x_shape": st.tuples(*[st.integers(1, n) for n in (2, 4, 8, 12)], st.sampled_from([1, 3, 16])),
    "kernel_size": st.tuples(*[st.sampled_from([1, 3]), st.integers(1, 5), st.integers(1, 5)]),
    "features": st.integers(1, 3),
    "seed": st.integers(0, 2**16),
}


@given(**windowed)
@settings(deadline=None, max_examples=12, phases=NO_SHRINKING)
def test_windows_of_any_size_give_the_convolution_and_its_gradient_to_the_kernel(x_shape, kernel_size, features, seed):
    kernel_shape = (*kernel_size, x_shape[-1], features)
    with jax.enable_x64(True):
        arrays = draw_arrays(seed, x_shape, kernel_shape, (*x_shape[:-1], features), dtype=np.float64)

        @jax.jit  # one program instead of one for every operation
        def both(x, kernel, grad):
            out, pull = jax.vjp(lambda kernel: reference(x, kernel, (1, 1, 1)), kernel)
            to_kernel = conv_forms.kernel_gradient_by_windows(x, grad, kernel_shape=kernel_shape)
            return (conv_forms.products_of_windows(x, kernel), to_kernel), (out, *pull(grad))

        found, expected = both(*arrays)
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-11), found, expected)


@pytest.mark.parametrize("layer", LAYERS)
def test_half_precision_is_computed_in_float32_on_a_cpu(layer):
    x_shape, kernel_shape, strides, _ = LAYERS[layer]
    x, kernel = (jnp.asarray(array, jnp.bfloat16) for array in draw_arrays(0, x_shape, kernel_shape))
    found = jax.jit(ours, static_argnums=2)(x, kernel, strides)
    exact = jax.jit(ours, static_argnums=2)(x.astype(jnp.float32), kernel.astype(jnp.float32), strides)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))


def test_rematerialisation_changes_no_gradient():
    x_shape, kernel_shape, strides, _ = LAYERS["three wide in 2D"]
    x, kernel = draw_arrays(0, x_shape, kernel_shape)

    def loss(x, kernel):
        return jnp.sin(ours(x, kernel, strides)).sum()

    plain = jax.jit(jax.grad(loss, (0, 1)))(x, kernel)
    again = jax.jit(jax.grad(jax.checkpoint(loss), (0, 1)))(x, kernel)
    chex.assert_trees_all_close(plain, again, rtol=1e-5, atol=1e-5)


SHARDED = """
import jax, numpy as np
from vjax import mesh as meshes
from vjax.layers.conv import space_time_conv

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


@given(
    kernel_frames=st.integers(1, 4),
    more_frames=st.integers(0, 6),
    stride=st.integers(1, 3),
    channels=st.sampled_from([1, 3, 9]),
    seed=st.integers(0, 2**16),
)
@settings(deadline=None, max_examples=8, phases=NO_SHRINKING)
def test_a_convolution_without_padded_time_and_its_gradients_are_those_of_lax(
    kernel_frames, more_frames, stride, channels, seed
):
    x, kernel = draw_arrays(seed, (2, kernel_frames + more_frames, 5, 4, channels), (kernel_frames, 3, 2, channels, 3))
    strides = (stride, 2, 1)

    def without_padding(x, kernel, strides):
        padding, axes = [(0, 0), (1, 1), (0, 1)], ("NDHWC", "DHWIO", "NDHWC")
        return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=axes)

    def ours(x, kernel, strides):
        return space_time_conv(x, kernel, strides=strides, pad_time=False)

    found, expected = (output_and_gradients(conv, x, kernel, strides, seed) for conv in (ours, without_padding))
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_layer_without_padded_time_has_the_same_kernel_and_sees_frames_of_the_clip_alone():
    (x,) = draw_arrays(0, (1, 10, 4, 4, 3))
    layer = Conv(5, (4, 3, 3), (2, 1, 1), pad_time=False)
    out, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), x)
    assert out.shape == (1, 4, 4, 4, 5)
    assert variables["params"]["kernel"].shape == (4, 3, 3, 3, 5)


@given(
    x_shape=st.tuples(*[st.integers(1, n) for n in (2, 6, 7, 7)], st.sampled_from([1, 3])),
    kernel_size=st.tuples(*[st.integers(1, n) for n in (4, 5, 5)]),
    strides=st.tuples(*[st.integers(1, 3)] * 3),
    seed=st.integers(0, 2**16),
)
@settings(deadline=None, max_examples=8, phases=NO_SHRINKING)
def test_a_convolution_that_pads_as_tensorflow_does_is_that_of_lax_and_so_are_its_gradients(
    x_shape, kernel_size, strides, seed
):
    x, kernel = draw_arrays(seed, x_shape, (*kernel_size, x_shape[-1], 3))

    def same(x, kernel, strides):
        return lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))

    def ours(x, kernel, strides):
        return space_time_conv(x, kernel, strides=strides, pad="same")

    found, expected = (output_and_gradients(conv, x, kernel, strides, seed) for conv in (ours, same))
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_bias_is_added_to_each_channel_and_starts_at_zero():
    x, kernel, bias = draw_arrays(0, (2, 4, 6, 6, 3), (3, 3, 3, 3, 5), (5,))
    layer, params = Conv(5, (3, 3, 3), use_bias=True), {"kernel": kernel, "bias": bias}
    plain = jax.jit(Conv(5, (3, 3, 3)).apply)({"params": {"kernel": kernel}}, x)
    np.testing.assert_allclose(jax.jit(layer.apply)({"params": params}, x), plain + bias, rtol=1e-5, atol=1e-5)
    started = layer.init(jax.random.key(0), x)["params"]
    chex.assert_trees_all_equal_shapes(started, params)
    assert not started["bias"].any()


def test_the_gradient_of_a_bias_in_half_precision_is_the_sum_over_all_positions():
    x = jnp.ones((4, 8, 56, 56, 1), jnp.bfloat16)
    layer = Conv(2, (1, 1, 1), dtype=jnp.bfloat16, use_bias=True)
    params = {"kernel": jnp.ones((1, 1, 1, 1, 2)), "bias": jnp.zeros(2)}
    grads = jax.grad(lambda params: layer.apply({"params": params}, x).astype(jnp.float32).sum())(params)
    np.testing.assert_allclose(grads["bias"], x.size, rtol=1e-5)


def test_the_layer_is_the_convolution_with_its_kernel_and_no_bias():
    x, kernel = draw_arrays(0, (2, 4, 6, 6, 3), (3, 1, 3, 3, 5))
    layer, variables = Conv(5, (3, 1, 3), (2, 1, 2)), {"params": {"kernel": kernel}}
    chex.assert_trees_all_equal_shapes(jax.eval_shape(layer.init, jax.random.key(0), x), variables)
    expected = reference(x, kernel, (2, 1, 2))
    np.testing.assert_allclose(jax.jit(layer.apply)(variables, x), expected, rtol=1e-5, atol=1e-5)


def test_the_layer_computes_in_its_dtype_and_keeps_its_parameters_in_float32():
    (x,) = draw_arrays(0, (2, 4, 6, 6, 3))
    layer = Conv(4, (3, 3, 3), dtype=jnp.bfloat16, use_bias=True)
    out, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), x)
    assert out.dtype == jnp.bfloat16
    assert {name: leaf.dtype for name, leaf in variables["params"].items()} == {
        "kernel": jnp.float32,
        "bias": jnp.float32,
    }
