"""The depthwise convolution: every channel is convolved with a kernel of its own.

GPU and TPU use XLA's own grouped convolution. CPUs use the forms of depthwise_forms.py: XLA's own took 25 to 660 times
as long (three layers of EfficientNet-Lite0 and X3D, forward and both gradients, one clip on two cores). The platform is
read when the program is lowered, as in conv.py.
"""

import functools
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from vjax.layers import depthwise_forms
from vjax.layers.conv import he_normal, in_float32
from vjax.layers.conv_forms import Pad, Triple, zeros_before


def depthwise_conv(x: jax.Array, kernel: jax.Array, *, strides: Triple = (1, 1, 1), pad: Pad = "centered") -> jax.Array:
    """Returns the convolution of clips `(b t h w c)` with a kernel `(kt kh kw 1 c)`, by channel: `(b t' h' w' c)`.

    Strides and the two ways to pad are those of `space_time_conv`: each axis gets ceil(size / stride) outputs.
    """
    chex.assert_rank([x, kernel], 5)
    chex.assert_shape(kernel, (None, None, None, 1, x.shape[-1]))
    before = zeros_before(x.shape, kernel.shape, strides, pad=pad)
    # Along an axis of size 1 only one tap is aligned with data; the others see only padding and are dropped.
    for axis, size in enumerate(x.shape[1:4]):
        if size == 1:
            kernel = lax.index_in_dim(kernel, before[axis], axis)
            before = (*before[:axis], 0, *before[axis + 1 :])
    return _conv(x, kernel, strides, before)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv(x, kernel, strides, before):
    by_taps = functools.partial(depthwise_forms.sum_of_taps, strides=strides, before=before)
    native = functools.partial(depthwise_forms.native, strides=strides, before=before)
    return lax.platform_dependent(x, kernel, cpu=in_float32(by_taps), default=native)


# Differentiating through platform_dependent would keep the residuals of both branches; x and kernel are enough.
def _conv_forward(x, kernel, strides, before):
    return _conv(x, kernel, strides, before), (x, kernel)


def _conv_backward(strides, before, residuals, grad):
    x, kernel = residuals

    def by_taps(x, kernel, grad):
        to_input = functools.partial(depthwise_forms.input_gradient, x_shape=x.shape, strides=strides, before=before)
        to_kernel = functools.partial(
            depthwise_forms.kernel_gradient, kernel_shape=kernel.shape, strides=strides, before=before
        )
        return in_float32(to_input)(grad, kernel), in_float32(to_kernel)(x, grad)

    def native(x, kernel, grad):
        convolve = functools.partial(depthwise_forms.native, strides=strides, before=before)
        return jax.vjp(convolve, x, kernel)[1](grad)

    return lax.platform_dependent(x, kernel, grad, cpu=by_taps, default=native)


_conv.defvjp(_conv_forward, _conv_backward)


class DepthwiseConv(nn.Module):
    """A depthwise space-time convolution without bias, because a norm usually follows it.

    Attributes:
      kernel_size: size `(kt, kh, kw)` of the kernels; with kt = 1 every frame is convolved on its own.
      strides: strides `(st, sh, sw)`.
      pad: way to pad all axes with zeros, "centered" or "same"; see `depthwise_conv`.
      dtype: dtype of the computation; the parameters stay float32.
    """

    kernel_size: Triple
    strides: Triple = (1, 1, 1)
    pad: Pad = "centered"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(b t h w c)` to `(b t' h' w' c)`."""
        kernel = self.param("kernel", he_normal, (*self.kernel_size, 1, x.shape[-1]))
        return depthwise_conv(x.astype(self.dtype), kernel.astype(self.dtype), strides=self.strides, pad=self.pad)
