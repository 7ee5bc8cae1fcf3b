"""The space-time convolution that every network is built from.

GPU and TPU are given XLA's own convolution. On CPU that takes 2 to 100 times as long as it must (docs/benchmarks.md),
so there each layer takes the forms that its shape asks for: `on_cpu` is the table. The platform is looked up where the
program is lowered, so one jitted function is right everywhere.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from vjax.layers import conv_forms, winograd
from vjax.layers.conv_forms import Triple


def space_time_conv(x: jax.Array, kernel: jax.Array, *, strides: Triple = (1, 1, 1)) -> jax.Array:
    """Returns the convolution of clips `(b t h w c)` with a kernel `(kt kh kw c f)`: `(b t' h' w' f)`.

    Each axis is padded with (k - 1) // 2 zeros before and k // 2 after, so a stride of 1 keeps the size.
    """
    # Along an axis of size 1 all taps but one meet nothing but padding.
    for axis, size in enumerate(x.shape[1:4]):
        if size == 1:
            kernel = lax.index_in_dim(kernel, conv_forms.pad_sizes(kernel.shape[axis])[0], axis)
    return _conv(x, kernel, strides)


class Forms(NamedTuple):
    """How a layer is computed.

    Attributes:
      convolve: of x and kernel.
      input_gradient: of the output's gradient and the kernel.
      kernel_gradient: of x and the output's gradient.
    """

    convolve: Callable[[jax.Array, jax.Array], jax.Array]
    input_gradient: Callable[[jax.Array, jax.Array], jax.Array]
    kernel_gradient: Callable[[jax.Array, jax.Array], jax.Array]


def on_cpu(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], strides: Triple) -> Forms:
    """Returns the forms that are fastest for a layer; their times stand in docs/benchmarks.md, "Layers"."""
    *sizes, channels, features = kernel_shape
    num_outputs = x_shape[0] * math.prod(conv_forms.num_outputs(x_shape, strides))
    multiply_adds = num_outputs * math.prod(kernel_shape)
    axes = tuple(axis + 1 for axis, size in enumerate(sizes) if size == 3)
    three_wide = bool(axes) and strides == (1, 1, 1) and all(size in (1, 3) for size in sizes)

    # A third to two thirds of the products, and 1.3 to 2.5 times as fast. With fewer positions, making the kernels
    # costs what that saves; with fewer channels, writing the tiles does (60 ms as taps, 76 here: 16 to 32 channels).
    if three_wide and min(channels, features) >= 32 and num_outputs >= 512 and multiply_adds >= 250_000_000:
        return Forms(
            functools.partial(winograd.convolve, axes=axes),
            functools.partial(winograd.input_gradient, axes=axes),
            functools.partial(
                winograd.kernel_gradient, kernel_shape=kernel_shape, strides=strides, axes=[a for a in axes if a != 3]
            ),
        )

    convolve = functools.partial(conv_forms.products_of_rows, strides=strides)
    input_gradient = functools.partial(conv_forms.input_gradient_by_phases, x_shape=x_shape, strides=strides)
    kernel_gradient = functools.partial(
        winograd.kernel_gradient,
        kernel_shape=kernel_shape,
        strides=strides,
        axes=[1] if sizes[0] == 3 and strides[0] == 1 else [],
    )
    # A first layer has too few channels for products of rows. 3 to 16 channels: in 3D 83 ms against 246, in 2D 0.9
    # against 2.9, and kernel gradients 115 against 185.
    if sizes[0] > 1 and sizes[0] * channels <= 16:
        convolve = functools.partial(conv_forms.stacked_taps, strides=strides)
    elif channels < 16 and strides == (1, 1, 1):
        convolve = conv_forms.products_of_windows
    # 1.9 ms against 2.6 in 2D (16 to 32 channels); in 3D there is no gain.
    folds = conv_forms.fold_size(x_shape) == 4
    if strides == (1, 1, 1) and (channels < 16 or (sizes[0] == 1 and channels < 32 and folds)):
        kernel_gradient = functools.partial(conv_forms.kernel_gradient_by_windows, kernel_shape=kernel_shape)
    # Small kernels are quickly turned round: 5.5 ms against 8.5 (32 to 16 channels), 4.3 against 5.2 in 2D.
    if three_wide and num_outputs >= 512:
        input_gradient = conv_forms.input_gradient_by_turned_taps
        # 1.3 ms against 2.3 in 2D, 1.8 against 2.7 in 3D, 60 against 93 at 112 x 112 (16 to 32 channels).
        if 16 <= channels < 32:
            convolve = functools.partial(conv_forms.sum_of_taps, strides=strides)
    return Forms(convolve, input_gradient, kernel_gradient)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x, kernel, strides):
    forms = on_cpu(x.shape, kernel.shape, strides)
    native = functools.partial(conv_forms.native, strides=strides)
    return lax.platform_dependent(x, kernel, cpu=_in_float32(forms.convolve), default=native)


# Differentiating through platform_dependent would keep the residuals of both branches; x and kernel are enough.
def _conv_forward(x, kernel, strides):
    return _conv(x, kernel, strides), (x, kernel)


def _conv_backward(strides, residuals, grad):
    x, kernel = residuals
    forms = on_cpu(x.shape, kernel.shape, strides)

    def by_forms(x, kernel, grad):
        return _in_float32(forms.input_gradient)(grad, kernel), _in_float32(forms.kernel_gradient)(x, grad)

    def native(x, kernel, grad):
        return jax.vjp(functools.partial(conv_forms.native, strides=strides), x, kernel)[1](grad)

    return lax.platform_dependent(x, kernel, grad, cpu=by_forms, default=native)


_conv.defvjp(_conv_forward, _conv_backward)


def _in_float32(form: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Computes half-precision inputs in float32: CPUs multiply that faster, and sums of tiles need its digits."""

    def computed(*arrays: jax.Array) -> jax.Array:
        dtype = jnp.promote_types(arrays[0].dtype, jnp.float32)
        return form(*[array.astype(dtype) for array in arrays]).astype(arrays[0].dtype)

    return computed


class Conv(nn.Module):
    """A space-time convolution without bias: a norm follows it everywhere.

    Attributes:
      features: channels out.
      kernel_size: `(kt, kh, kw)`; kt = 1 looks at every frame by itself.
      strides: `(st, sh, sw)`.
      dtype: of the computation; the kernel stays float32.
    """

    features: int
    kernel_size: Triple
    strides: Triple = (1, 1, 1)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(b t h w c)` to `(b t' h' w' features)`."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", _he_normal, shape)
        return space_time_conv(x.astype(self.dtype), kernel.astype(self.dtype), strides=self.strides)


def _he_normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws a kernel, over two axes: the numbers are the same, but over five XLA compiles on CPU for four seconds."""
    return nn.initializers.he_normal()(key, (math.prod(shape[:-1]), shape[-1])).reshape(shape)
