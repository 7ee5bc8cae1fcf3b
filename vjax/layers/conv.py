"""The space-time convolution of all networks.

GPU and TPU use XLA's own convolution. On CPU that is 2 to 100 times slower than necessary
(`benchmarks/step_time.py --layers` measures it), so there `on_cpu` chooses other forms by the shape of the layer. The
platform is read when the program is lowered, so one jitted function works on all platforms.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from vjax.layers import conv_forms, winograd
from vjax.layers.conv_forms import Triple


def space_time_conv(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: Triple = (1, 1, 1),
    pad: conv_forms.Pad = "centered",
    pad_time: bool = True,
) -> jax.Array:
    """Returns the convolution of clips `(b t h w c)` with a kernel `(kt kh kw c f)`: `(b t' h' w' f)`.

    Each axis is padded with zeros so that it gets ceil(size / stride) outputs. The two ways to pad differ only with
    strides.

    Args:
      x: clips.
      kernel: kernel.
      strides: strides `(st sh sw)`.
      pad: "centered" for (k - 1) // 2 zeros before an axis and k // 2 after, as PyTorch pads; "same" for as many zeros
        as the outputs need, half of them (rounded down) before the axis, as TensorFlow pads.
      pad_time: whether time is padded. If not, every output sees kt frames, and t' = (t - kt) // st + 1.
    """
    chex.assert_rank([x, kernel], 5)
    chex.assert_axis_dimension(kernel, 3, x.shape[-1])
    if not pad_time:
        x, kernel = conv_forms.stack_time(x, kernel, strides[0])
        strides = (1, *strides[1:])
    # Along an axis of size 1 only one tap is aligned with data; the others see only padding and are dropped.
    for axis, size in enumerate(x.shape[1:4]):
        if size == 1:
            kernel = lax.index_in_dim(kernel, conv_forms.pad_sizes(kernel.shape[axis])[0], axis)
    if pad == "same":
        return _conv_as_same(x, kernel, strides)
    return _conv(x, kernel, strides)


def _conv_as_same(x: jax.Array, kernel: jax.Array, strides: Triple) -> jax.Array:
    """Returns the convolution with TensorFlow's padding.

    It needs fewer zeros before an axis than `_conv` puts there. Enough zeros more make the difference one whole stride,
    and the first output is dropped.
    """
    centered, same = (conv_forms.zeros_before(x.shape, kernel.shape, strides, pad=pad) for pad in ("centered", "same"))
    more = [(stride + b - a) % stride for a, b, stride in zip(centered, same, strides, strict=True)]
    out: Any = _conv(jnp.pad(x, [(0, 0), *[(zeros, 0) for zeros in more], (0, 0)]), kernel, strides)
    return lax.slice(out, (0, *[1 if zeros else 0 for zeros in more], 0), out.shape)


_USUAL = 16  # frames of a clip, which 2D networks take as a batch


class Forms(NamedTuple):
    """The functions that compute a layer and its gradients.

    Attributes:
      convolve: function of the input and the kernel that returns the output.
      input_gradient: function of the output's gradient and the kernel that returns the input's gradient.
      kernel_gradient: function of the input and the output's gradient that returns the kernel's gradient.
    """

    convolve: Callable[[jax.Array, jax.Array], jax.Array]
    input_gradient: Callable[[jax.Array, jax.Array], jax.Array]
    kernel_gradient: Callable[[jax.Array, jax.Array], jax.Array]


def on_cpu(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], strides: Triple) -> Forms:
    """Returns the fastest forms for a layer on CPU; docs/benchmarks.md, "Layers", lists their times."""
    # The choice depends on these sizes.
    *sizes, channels, features = kernel_shape
    num_clips = x_shape[0] if isinstance(x_shape[0], int) else _USUAL  # an exported network does not know it
    num_outputs = num_clips * math.prod(conv_forms.num_outputs(x_shape, strides))
    multiply_adds = num_outputs * math.prod(kernel_shape)
    axes = tuple(axis + 1 for axis, size in enumerate(sizes) if size == 3)
    three_wide = bool(axes) and strides == (1, 1, 1) and all(size in (1, 3) for size in sizes)

    # Winograd's forms need a third to two thirds of the products, and are 1.3 to 2.5 times as fast. With fewer
    # positions, transforming the kernels costs as much as that saves. With fewer channels, writing the tiles does (16
    # to 32 channels: 60 ms as taps, 76 ms here).
    if three_wide and min(channels, features) >= 32 and num_outputs >= 512 and multiply_adds >= 250_000_000:
        return Forms(
            functools.partial(winograd.convolve, axes=axes),
            functools.partial(winograd.input_gradient, axes=axes),
            functools.partial(
                winograd.kernel_gradient, kernel_shape=kernel_shape, strides=strides, axes=[a for a in axes if a != 3]
            ),
        )

    # All other layers start from these forms; the conditions below replace some of them.
    convolve = functools.partial(conv_forms.products_of_rows, strides=strides)
    input_gradient = functools.partial(conv_forms.input_gradient_by_phases, x_shape=x_shape, strides=strides)
    kernel_gradient = functools.partial(
        winograd.kernel_gradient,
        kernel_shape=kernel_shape,
        strides=strides,
        axes=[1] if sizes[0] == 3 and strides[0] == 1 else [],
    )
    # A first layer has too few channels for products of rows. From 3 to 16 channels: in 3D 83 ms instead of 246, in 2D
    # 0.9 instead of 2.9, and kernel gradients 115 instead of 185.
    if sizes[0] > 1 and sizes[0] * channels <= 16:
        convolve = functools.partial(conv_forms.stacked_taps, strides=strides)
    elif channels < 16 and strides == (1, 1, 1):
        convolve = conv_forms.products_of_windows
    # Kernel gradients by windows take 1.9 ms instead of 2.6 in 2D (16 to 32 channels); in 3D there is no gain.
    folds = conv_forms.fold_size(x_shape) == 4
    if strides == (1, 1, 1) and (channels < 16 or (sizes[0] == 1 and channels < 32 and folds)):
        kernel_gradient = functools.partial(conv_forms.kernel_gradient_by_windows, kernel_shape=kernel_shape)
    # Flipping a small kernel is cheap: 5.5 ms instead of 8.5 (32 to 16 channels), 4.3 instead of 5.2 in 2D.
    if three_wide and num_outputs >= 512:
        input_gradient = conv_forms.input_gradient_by_turned_taps
        # 1.3 ms instead of 2.3 in 2D, 1.8 instead of 2.7 in 3D, 60 instead of 93 at 112 x 112 (16 to 32 channels).
        if 16 <= channels < 32:
            convolve = functools.partial(conv_forms.sum_of_taps, strides=strides)
    return Forms(convolve, input_gradient, kernel_gradient)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x, kernel, strides):
    forms = on_cpu(x.shape, kernel.shape, strides)
    native = functools.partial(conv_forms.native, strides=strides)
    return lax.platform_dependent(x, kernel, cpu=in_float32(forms.convolve), default=native)


# Differentiating through platform_dependent would keep the residuals of both branches; x and kernel are enough.
def _conv_forward(x, kernel, strides):
    return _conv(x, kernel, strides), (x, kernel)


def _conv_backward(strides, residuals, grad):
    x, kernel = residuals
    forms = on_cpu(x.shape, kernel.shape, strides)

    def by_forms(x, kernel, grad):
        return in_float32(forms.input_gradient)(grad, kernel), in_float32(forms.kernel_gradient)(x, grad)

    def native(x, kernel, grad):
        return jax.vjp(functools.partial(conv_forms.native, strides=strides), x, kernel)[1](grad)

    return lax.platform_dependent(x, kernel, grad, cpu=by_forms, default=native)


_conv.defvjp(_conv_forward, _conv_backward)


def in_float32(form: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Wraps a form to compute half precision in float32: CPUs multiply it faster, and sums of tiles need its digits."""

    def computed(*arrays: jax.Array) -> jax.Array:
        dtype = jnp.promote_types(arrays[0].dtype, jnp.float32)
        return form(*[array.astype(dtype) for array in arrays]).astype(arrays[0].dtype)

    return computed


class Conv(nn.Module):
    """A space-time convolution, by default without bias, because a norm usually follows it.

    Attributes:
      features: number of output channels.
      kernel_size: size `(kt, kh, kw)` of the kernel; with kt = 1 every frame is convolved on its own.
      strides: strides `(st, sh, sw)`.
      dtype: dtype of the computation; the parameters stay float32.
      use_bias: whether each output channel has an offset, which starts at 0.
      pad: way to pad the axes with zeros, "centered" or "same"; see `space_time_conv`.
      pad_time: whether time is padded with zeros, as height and width are.
    """

    features: int
    kernel_size: Triple
    strides: Triple = (1, 1, 1)
    dtype: Any = jnp.float32
    use_bias: bool = False
    pad: conv_forms.Pad = "centered"
    pad_time: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(b t h w c)` to `(b t' h' w' features)`."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", he_normal, shape)
        kernel = kernel.astype(self.dtype)
        out = space_time_conv(x.astype(self.dtype), kernel, strides=self.strides, pad=self.pad, pad_time=self.pad_time)
        if not self.use_bias:
            return out
        # In float32: the gradient of a bias is a sum over all positions, which bfloat16 cannot hold.
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return (out.astype(jnp.promote_types(self.dtype, jnp.float32)) + bias).astype(self.dtype)


def he_normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws a kernel over two axes: over five axes the numbers are the same, but XLA compiles for 4 s on CPU."""
    return nn.initializers.he_normal()(key, (math.prod(shape[:-1]), shape[-1])).reshape(shape)
