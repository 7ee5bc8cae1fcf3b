"""The space-time convolution and pooling that every network is built from.

XLA's own 3D convolution takes 2 to 4 times PyTorch's time on CPU; written as a sum over temporal taps of 2D
convolutions it does not (figures in docs/design.md). GPU and TPU keep the native form. The choice is made where
the program is lowered, so one jitted function is right on every platform.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

Triple = tuple[int, int, int]


def space_time_conv(x: jax.Array, kernel: jax.Array, *, strides: Triple = (1, 1, 1)) -> jax.Array:
    """Returns the convolution of clips `(b t h w c)` with a kernel `(kt kh kw c f)`: `(b t' h' w' f)`.

    Each axis is padded with (k - 1) // 2 zeros before and k // 2 after, so a stride of 1 keeps the size.
    """
    return _conv(x, kernel, strides)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x, kernel, strides):
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_frame_by_frame, strides=strides),
        default=functools.partial(_native, strides=strides),
    )


# Differentiating through platform_dependent would keep the residuals of both branches; x and kernel are enough.
def _conv_forward(x, kernel, strides):
    return _conv(x, kernel, strides), (x, kernel)


def _conv_backward(strides, residuals, grad):
    def gradients(form):
        return lambda x, kernel, grad: jax.vjp(functools.partial(form, strides=strides), x, kernel)[1](grad)

    return lax.platform_dependent(*residuals, grad, cpu=gradients(_frame_by_frame), default=gradients(_native))


_conv.defvjp(_conv_forward, _conv_backward)


def _padding(kernel_size: int) -> tuple[int, int]:
    return (kernel_size - 1) // 2, kernel_size // 2


def _native(x, kernel, *, strides):
    padding = [_padding(k) for k in kernel.shape[:3]]
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))


def _frame_by_frame(x, kernel, *, strides):
    """The convolution as 2D convolutions: with few channels in, one over all taps at once; else one for each tap."""
    few = kernel.shape[0] > 1 and kernel.shape[0] * kernel.shape[3] <= _FEW_CHANNELS
    return (_stacked_taps if few else _sum_of_taps)(x, kernel, strides=strides)


# Below this many channels of all taps together a 2D convolution has too little to do for each pixel it reads.
_FEW_CHANNELS = 16


def _stacked_taps(x, kernel, *, strides):
    """The frames that the taps meet lie side by side as channels of one 2D convolution."""
    num_taps, height, width, channels, features = kernel.shape
    padded = jnp.pad(x, ((0, 0), _padding(num_taps), (0, 0), (0, 0), (0, 0)))
    num_out = (padded.shape[1] - num_taps) // strides[0] + 1
    span = (num_out - 1) * strides[0] + 1
    # A stack and a reshape: on CPU far faster than concatenating along the last axis.
    stacked = jnp.stack([padded[:, tap : tap + span : strides[0]] for tap in range(num_taps)], axis=-2)
    stacked = stacked.reshape(*stacked.shape[:-2], num_taps * channels)
    flat_kernel = kernel.transpose(1, 2, 0, 3, 4).reshape(height, width, num_taps * channels, features)
    return _conv2d(stacked, flat_kernel, strides[1:])


def _sum_of_taps(x, kernel, *, strides):
    """Each temporal tap is a 2D convolution over the frames it meets; temporal padding is never computed."""
    num_taps, num_frames, stride = kernel.shape[0], x.shape[1], strides[0]
    before, after = _padding(num_taps)
    num_out = (num_frames + before + after - num_taps) // stride + 1
    total = None
    for tap in range(num_taps):
        # Output frame o reads input frame o * stride + tap - before; keep the o for which that exists.
        first = max(0, -((tap - before) // stride))
        last = min(num_out - 1, (num_frames - 1 - tap + before) // stride)
        if first > last:
            continue
        start, stop = first * stride + tap - before, last * stride + tap - before + 1
        part = _conv2d(x[:, start:stop:stride], kernel[tap], strides[1:])
        part = jnp.pad(part, ((0, 0), (first, num_out - 1 - last), (0, 0), (0, 0), (0, 0)))
        total = part if total is None else total + part
    return total


def _conv2d(x, kernel, strides):
    """2D convolution of every frame of `(b t h w c)` by itself."""
    batch, num_frames = x.shape[:2]
    padding = [_padding(k) for k in kernel.shape[:2]]
    out = lax.conv_general_dilated(
        x.reshape(batch * num_frames, *x.shape[2:]),
        kernel,
        strides,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return out.reshape(batch, num_frames, *out.shape[1:])


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
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        return space_time_conv(x.astype(self.dtype), kernel.astype(self.dtype), strides=self.strides)


def max_pool(x: jax.Array, window: Triple) -> jax.Array:
    """Returns the maxima over windows that do not overlap: `(b t h w c)` to `(b t//wt h//wh w//ww c)`.

    Frames, rows and columns that do not fill a window are dropped.
    """
    batch, *sizes, channels = x.shape
    outs = [size // w for size, w in zip(sizes, window, strict=True)]
    kept = x[:, : outs[0] * window[0], : outs[1] * window[1], : outs[2] * window[2]]
    # A reshape and a maximum: on CPU its gradient is far cheaper than that of lax.reduce_window.
    windows = kept.reshape(batch, outs[0], window[0], outs[1], window[1], outs[2], window[2], channels)
    return windows.max(axis=(2, 4, 6))
