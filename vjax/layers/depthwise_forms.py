"""Forms of a depthwise convolution that are fast on CPU: XLA compiles them to loops over the channels.

Clips are `(b t h w c)`, kernels `(kt kh kw 1 c)`, strides `(st sh sw)`. `before` is the number of zeros before each
axis: output o of an axis uses the inputs o * stride - before + tap, and inputs outside the clip are zero. Each axis has
ceil(size / stride) outputs.
"""

import functools
import itertools
import operator

import jax
import jax.numpy as jnp
from jax import lax

from vjax.layers.conv_forms import Triple, interleave_phases, num_outputs, pad_sizes, shifted, steps_of_phase


def zeros_before(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], strides: Triple, *, pad: str) -> Triple:
    """Returns the zeros before each axis: as in conv_forms.py for "centered", or as TensorFlow pads for "same"."""
    before = []
    for size, num_taps, stride, num in zip(
        x_shape[1:4], kernel_shape, strides, num_outputs(x_shape, strides), strict=False
    ):
        needed = max(0, (num - 1) * stride + num_taps - size)
        before.append(needed // 2 if pad == "same" else pad_sizes(num_taps)[0])
    return tuple(before)


def native(x: jax.Array, kernel: jax.Array, *, strides: Triple, before: Triple) -> jax.Array:
    """Returns the convolution, computed by XLA's own operation."""
    padding = _padding(x.shape, kernel.shape, strides, before)
    layout = ("NDHWC", "DHWIO", "NDHWC")
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=layout, feature_group_count=x.shape[-1]
    )


def sum_of_taps(x: jax.Array, kernel: jax.Array, *, strides: Triple, before: Triple) -> jax.Array:
    """Returns the convolution as the sum over all taps of the inputs that are aligned with a tap, times the tap."""
    padded = _pad(x, kernel.shape, strides, before)
    taps = _aligned(padded, kernel.shape, strides, num_outputs(x.shape, strides))
    return functools.reduce(operator.add, [inputs * kernel[tap][0] for tap, inputs in taps])


def input_gradient(
    grad: jax.Array, kernel: jax.Array, *, x_shape: tuple[int, ...], strides: Triple, before: Triple
) -> jax.Array:
    """Returns the input gradient: for each phase of the strides, the sum over the taps that contribute to it."""
    sizes = [-(-size // stride) for size, stride in zip(x_shape[1:4], strides, strict=True)]
    phases = []
    for phase in itertools.product(*[range(stride) for stride in strides]):
        steps = steps_of_phase(phase, kernel.shape, strides, before)
        total = jnp.zeros((len(grad), *sizes, grad.shape[-1]), grad.dtype)
        for tap in itertools.product(*steps):
            moved = grad
            for axis in range(3):
                moved = shifted(moved, axis + 1, steps[axis][tap[axis]], sizes[axis])
            total = total + moved * kernel[tap][0]
        phases.append(total)
    return interleave_phases(phases, x_shape, strides)


def kernel_gradient(
    x: jax.Array, grad: jax.Array, *, kernel_shape: tuple[int, ...], strides: Triple, before: Triple
) -> jax.Array:
    """Returns the kernel gradient: for each tap, the sum over all outputs of the aligned inputs times the gradient."""
    padded = _pad(x, kernel_shape, strides, before)
    taps = _aligned(padded, kernel_shape, strides, grad.shape[1:4])
    return jnp.stack([(inputs * grad).sum((0, 1, 2, 3)) for _, inputs in taps]).reshape(kernel_shape)


def _padding(
    x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], strides: Triple, before: Triple
) -> list[tuple[int, int]]:
    """Returns the zeros before and after each axis; negative ones cut inputs off that no output uses."""
    ends = [
        (num - 1) * stride + num_taps - zeros
        for num, stride, num_taps, zeros in zip(
            num_outputs(x_shape, strides), strides, kernel_shape[:3], before, strict=True
        )
    ]
    return [(zeros, end - size) for zeros, end, size in zip(before, ends, x_shape[1:4], strict=True)]


def _pad(x: jax.Array, kernel_shape: tuple[int, ...], strides: Triple, before: Triple) -> jax.Array:
    low_high = [(0, 0), *_padding(x.shape, kernel_shape, strides, before), (0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), [(low, high, 0) for low, high in low_high])


def _aligned(padded: jax.Array, kernel_shape: tuple[int, ...], strides: Triple, nums: tuple[int, ...] | list[int]):
    """Yields each tap and the padded inputs that are aligned with it."""
    for tap in itertools.product(*[range(size) for size in kernel_shape[:3]]):
        ends = [start + (num - 1) * stride + 1 for start, num, stride in zip(tap, nums, strides, strict=True)]
        yield tap, lax.slice(padded, (0, *tap, 0), (len(padded), *ends, padded.shape[4]), (1, *strides, 1))
