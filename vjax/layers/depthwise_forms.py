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
import numpy as np
from jax import lax

from vjax.layers.conv_forms import Triple, interleave_phases, num_outputs, steps_of_phase

_MOST_SLICES = 16


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
    phases = list(itertools.product(*[range(stride) for stride in strides]))
    steps = [steps_of_phase(phase, kernel.shape, strides, before) for phase in phases]

    # Pad once for all steps: a slice of a padded array of its own for each tap takes three times as long.
    ranges = [[step for found in steps for step in found[axis].values()] for axis in range(3)]
    low = [max(0, -min(values)) for values in ranges]
    high = [max(0, max(values) + size - num) for values, size, num in zip(ranges, sizes, grad.shape[1:4], strict=True)]
    padded = jnp.pad(grad, [(0, 0), *zip(low, high, strict=True), (0, 0)])

    # Sum over the taps of each phase.
    totals = []
    for found in steps:
        total = jnp.zeros((len(grad), *sizes, grad.shape[-1]), grad.dtype)
        for tap in itertools.product(*found):
            starts = [zeros + axis[place] for zeros, axis, place in zip(low, found, tap, strict=True)]
            ends = [start + size for start, size in zip(starts, sizes, strict=True)]
            moved = lax.slice(padded, (0, *starts, 0), (len(grad), *ends, grad.shape[-1]))
            total = total + moved * kernel[tap][0]
        totals.append(total)
    return interleave_phases(totals, x_shape, strides)


def kernel_gradient(
    x: jax.Array, grad: jax.Array, *, kernel_shape: tuple[int, ...], strides: Triple, before: Triple
) -> jax.Array:
    """Returns the kernel gradient: for each tap, the sum over all outputs of the aligned inputs times the gradient.

    A sum of a few slices compiles to a loop over the channels, a sum of all products in one step does not (16 frames of
    56 x 56 x 32 and 3 x 3 taps: 2.4 ms instead of 36 to 49). So the slices are added first; what is left is small.
    """
    padded = _pad(x, kernel_shape, strides, before)
    taps = _aligned(padded, kernel_shape, strides, grad.shape[1:4])
    parts = [_sum_of_slices(inputs, grad) for _, inputs in taps]
    return jnp.stack(parts).sum((1, 2, 3, 4)).reshape(kernel_shape)


def _sum_of_slices(x: jax.Array, grad: jax.Array) -> jax.Array:
    """Returns the product of two arrays `(b t h w c)`, summed over at most 16 slices along one of the axes."""
    # The first axis that gives 8 slices or more, else the longest one.
    axis = next((axis for axis in range(4) if grad.shape[axis] >= 8), int(np.argmax(grad.shape[:4])))
    size = grad.shape[axis]
    width = -(-size // _MOST_SLICES)
    products = []
    for start in range(0, size, width):
        end = min(start + width, size)
        product = lax.slice_in_dim(x, start, end, axis=axis) * lax.slice_in_dim(grad, start, end, axis=axis)
        # The last slice can be smaller.
        products.append(jnp.pad(product, [(0, width - (end - start)) if i == axis else (0, 0) for i in range(5)]))
    return functools.reduce(operator.add, products)


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
