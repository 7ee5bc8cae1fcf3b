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

# Parts of a loop over clips or frames, and terms of a sum that XLA compiles to one loop.
_MOST_PARTS, _MOST_SLICES = 16, 32


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

    Several clips, or frames, are taken one after the other by a loop: all taps then read a clip from the cache. The
    loop also stops XLA from computing the norm and the activation before this layer again for each tap (16 frames of
    56 x 56 x 96, 3 x 3 taps, strides of 2: 4.4 ms on one core instead of 20). A single clip needs no loop without
    strides (13 frames of 40 x 40 x 54, 3 x 3 x 3 taps: 5.0 ms instead of 9.8).
    """
    padded = _pad(x, kernel_shape, strides, before)
    num_taps, stride, (num_clips, num_frames) = kernel_shape[0], strides[0], grad.shape[:2]
    if num_taps == 1 and stride == 1:
        padded, grad = (array.reshape(-1, 1, *array.shape[2:]) for array in (padded, grad))
        num_clips, num_frames = num_clips * num_frames, 1
    if num_clips == 1 and max(strides) == 1:
        return _products(padded, grad, kernel_shape, strides).sum((1, 2, 3, 4)).reshape(kernel_shape)

    # Each part holds some clips, or some frames of a single clip and the frames that their taps see.
    axis = 0 if num_clips > 1 else 1
    num_parts = max(part for part in range(1, _MOST_PARTS + 1) if grad.shape[axis] % part == 0)
    size = grad.shape[axis] // num_parts
    step, seen = (size, size) if axis == 0 else (size * stride, (size - 1) * stride + num_taps)

    def products_of(part: jax.Array | int) -> jax.Array:
        near = lax.dynamic_slice_in_dim(padded, part * step, seen, axis)
        some = lax.dynamic_slice_in_dim(grad, part * size, size, axis)
        return _products(near, some, kernel_shape, strides)

    start = jnp.zeros(jax.eval_shape(products_of, 0).shape, grad.dtype)
    total = lax.fori_loop(0, num_parts, lambda part, total: total + products_of(part), start)
    return total.sum((1, 2, 3, 4)).reshape(kernel_shape)


def _products(padded: jax.Array, grad: jax.Array, kernel_shape: tuple[int, ...], strides: Triple) -> jax.Array:
    """Returns, for each tap, the aligned inputs times the gradient `(taps b' t' h' w' c)`, summed over slices.

    A sum of a few slices compiles to a loop over the channels, a sum of all products in one step does not (16 frames of
    56 x 56 x 32 and 3 x 3 taps: 2.4 ms instead of 36 to 49). So the slices are added first; what is left is small.
    """
    taps = _aligned(padded, kernel_shape, strides, grad.shape[1:4])
    return jnp.stack([_sum_of_slices(inputs, grad) for _, inputs in taps])


def _sum_of_slices(x: jax.Array, grad: jax.Array) -> jax.Array:
    """Returns the product of two arrays `(b t h w c)`, summed over at most 32 slices along one of the axes."""
    # The first axis that gives enough slices, else the longest one.
    axis = next((axis for axis in range(3) if grad.shape[axis] >= 8), int(np.argmax(grad.shape[:4])))
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
        yield tap, lax.slice(padded, (0, *tap, 0), (padded.shape[0], *ends, padded.shape[4]), (1, *strides, 1))
