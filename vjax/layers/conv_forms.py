"""Forms of a space-time convolution that are fast on CPU: they consist of matrix products and 2D convolutions.

Clips are `(b t h w c)`, kernels `(kt kh kw c f)`, strides `(st sh sw)`; each axis is padded with (k - 1) // 2 zeros
before and k // 2 after. A tap is one position of the kernel along an axis. conv.py chooses the form for each layer.
"""

import functools
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

Triple = tuple[int, int, int]
Pad = Literal["centered", "same"]


def native(x: jax.Array, kernel: jax.Array, *, strides: Triple) -> jax.Array:
    """Returns the convolution, computed by XLA's own operation."""
    padding = [pad_sizes(size) for size in kernel.shape[:3]]
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))


def stacked_taps(x: jax.Array, kernel: jax.Array, *, strides: Triple) -> jax.Array:
    """Returns the convolution as one 2D convolution: the frames of all temporal taps are stacked as channels."""
    padded = jnp.pad(x, ((0, 0), pad_sizes(len(kernel)), (0, 0), (0, 0), (0, 0)))
    frames, taps = stack_time(padded, kernel, strides[0])
    return _conv_2d(frames, taps[0], strides[1:])


def stack_time(x: jax.Array, kernel: jax.Array, stride: int) -> tuple[jax.Array, jax.Array]:
    """Returns clips `(b t' h w kt*c)` and a kernel `(1 kh kw kt*c f)` that give the convolution without padded time.

    The kt frames that an output sees are stacked as channels, so t' = (t - kt) // stride + 1.
    """
    num_taps, height, width, _, features = kernel.shape
    num_out = (x.shape[1] - num_taps) // stride + 1
    frames = _side_by_side(x, 1, num_taps, num_out, stride)
    return frames, kernel.transpose(1, 2, 0, 3, 4).reshape(1, height, width, -1, features)


def sum_of_taps(x: jax.Array, kernel: jax.Array, *, strides: Triple) -> jax.Array:
    """Returns the convolution as a sum of 2D convolutions, one for each temporal tap."""
    return _sum_over_time(x, kernel, strides[0], lambda frames, taps: _conv_2d(frames, taps, strides[1:]))


def products_of_rows(x: jax.Array, kernel: jax.Array, *, strides: Triple) -> jax.Array:
    """Returns the convolution as kt * kh matrix products: the taps along a row are stacked as channels."""
    _, height, width, _, features = kernel.shape
    _, num_rows, num_columns = num_outputs(x.shape, strides)
    padded = jnp.pad(x, ((0, 0), (0, 0), pad_sizes(height), pad_sizes(width), (0, 0)))

    def products(frames: jax.Array, taps: jax.Array) -> jax.Array:
        rows = [_meets(frames, 2, tap, num_rows, strides[1]) for tap in range(height)]
        return functools.reduce(
            operator.add, [row @ tap.reshape(-1, features) for row, tap in zip(rows, taps, strict=True)]
        )

    return _sum_over_time(_side_by_side(padded, 3, width, num_columns, strides[2]), kernel, strides[0], products)


def products_of_windows(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the convolution with strides of 1 as kt matrix products, each for several neighbouring columns at once.

    A window stacks the input columns of `fold_size` neighbouring outputs as channels, and the kernel is repeated for
    each of these outputs. So even few channels, as in a first layer, give a product of sufficient size.
    """
    height, features, fold = kernel.shape[1], kernel.shape[4], fold_size(x.shape)
    patches = _side_by_side(_windows(x, kernel.shape, fold), 2, height, x.shape[2], 1)

    def products(frames: jax.Array, taps: jax.Array) -> jax.Array:
        return frames @ taps.reshape(-1, fold * features)

    return _sum_over_time(patches, _fold_kernel(kernel, fold), 1, products).reshape(*x.shape[:4], features)


def kernel_gradient_by_windows(x: jax.Array, grad: jax.Array, *, kernel_shape: tuple[int, ...]) -> jax.Array:
    """Returns the kernel gradient for strides of 1, as kt * kh matrix products of windows.

    The windows are those of `products_of_windows`. A loop takes one frame after the other, or, for clips of one frame,
    the rows in up to four parts: all products of a part then read it from the cache. The loop also stops XLA from
    computing the gradient of the norm and the pool in the windows' layout, which takes up to fifteen times as long.
    """
    num_taps, height, width, channels, features = kernel_shape
    num_frames, num_rows = grad.shape[1:3]
    fold = fold_size(x.shape)
    windows = jnp.pad(_windows(x, kernel_shape, fold), [(0, 0), pad_sizes(num_taps), *[(0, 0)] * 3])

    # Each part holds one frame, or a range of rows of a single frame.
    axis, num_parts = (1, num_frames) if num_frames > 1 else (2, math.gcd(num_rows, 4))
    size = grad.shape[axis] // num_parts

    def add_part(part: jax.Array, total: jax.Array) -> jax.Array:
        near = lax.dynamic_slice_in_dim(windows, part * size, size + kernel_shape[axis - 1] - 1, axis)
        some = lax.dynamic_slice_in_dim(grad, part * size, size, axis)
        flat = some.reshape(-1, fold * features)
        found = []
        for tap, row in itertools.product(range(num_taps), range(height)):
            met = near[:, tap : tap + some.shape[1], row : row + some.shape[2]].reshape(len(flat), -1)
            found.append(lax.dot_general(met, flat, (((0,), (0,)), ((), ()))))
        return total + jnp.stack(found)

    # Sum the products of all parts.
    shape = (num_taps * height, (fold + width - 1) * channels, fold * features)
    total = lax.fori_loop(0, num_parts, add_part, jnp.zeros(shape, grad.dtype))

    # Collect the taps along a row: output p of a window multiplies tap k with column p + k of the window.
    total = total.reshape(num_taps, height, fold + width - 1, channels, fold, features)
    taps = [sum(total[:, :, tap + place, :, place] for place in range(fold)) for tap in range(width)]
    return jnp.stack(taps, axis=2)


def kernel_gradient_by_patches(
    x: jax.Array, grad: jax.Array, *, kernel_shape: tuple[int, ...], strides: Triple
) -> jax.Array:
    """Returns the kernel gradient as kt matrix products: all taps within a frame are stacked as channels."""
    num_taps, height, width, _, features = kernel_shape
    outs = num_outputs(x.shape, strides)
    padded = jnp.pad(x, ((0, 0), *[pad_sizes(size) for size in kernel_shape[:3]], (0, 0)))
    rows = _side_by_side(padded, 3, width, outs[2], strides[2])
    patches = _side_by_side(rows, 2, height, outs[1], strides[1])
    flat = grad.reshape(-1, features)
    taps = [_meets(patches, 1, tap, outs[0], strides[0]).reshape(len(flat), -1) for tap in range(num_taps)]
    return jnp.stack([lax.dot_general(tap, flat, (((0,), (0,)), ((), ()))) for tap in taps]).reshape(kernel_shape)


def input_gradient_by_turned_taps(grad: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the input gradient for strides of 1 and odd kernel sizes: a convolution with the flipped kernel."""
    return sum_of_taps(grad, kernel[::-1, ::-1, ::-1].swapaxes(3, 4), strides=(1, 1, 1))


def input_gradient_by_phases(
    grad: jax.Array, kernel: jax.Array, *, x_shape: tuple[int, ...], strides: Triple
) -> jax.Array:
    """Returns the input gradient as matrix products, one for each tap.

    With strides, inputs fall into phases (their positions modulo the strides), and only some of the taps contribute to
    a phase. So no product includes the zeros that XLA's own gradient inserts between the outputs.
    """
    channels = kernel.shape[3]
    sizes = [-(-size // stride) for size, stride in zip(x_shape[1:4], strides, strict=True)]
    before = [pad_sizes(size)[0] for size in kernel.shape[:3]]

    # Compute the gradient of each phase from the taps that contribute to it.
    phases = []
    for phase in itertools.product(*[range(stride) for stride in strides]):
        steps = steps_of_phase(phase, kernel.shape, strides, before)
        total = jnp.zeros((len(grad), *sizes, channels), grad.dtype)
        for tap in itertools.product(*steps):
            moved = grad
            for axis in range(3):
                moved = shifted(moved, axis + 1, steps[axis][tap[axis]], sizes[axis])
            total = total + lax.dot_general(moved, kernel[tap], (((4,), (1,)), ((), ())))
        phases.append(total)
    return interleave_phases(phases, x_shape, strides)


def steps_of_phase(
    phase: tuple[int, ...], kernel_shape: tuple[int, ...], strides: Triple, before: Sequence[int]
) -> list[dict[int, int]]:
    """Returns, for each axis, the taps that contribute to a phase, each with its step from an input to an output.

    Tap a connects input m * stride + phase to output m + (phase + before - a) / stride, if that is an integer.
    """
    return [
        {tap: step // stride for tap in range(size) for step in [start + zeros - tap] if step % stride == 0}
        for start, size, stride, zeros in zip(phase, kernel_shape[:3], strides, before, strict=True)
    ]


def interleave_phases(phases: list[jax.Array], x_shape: tuple[int, ...], strides: Triple) -> jax.Array:
    """Returns the phases in the order of the input, without the rest of the last stride."""
    batch, *sizes, channels = phases[0].shape
    whole = jnp.stack(phases).reshape(*strides, batch, *sizes, channels)
    whole = whole.transpose(3, 4, 0, 5, 1, 6, 2, 7)
    whole = whole.reshape(batch, *[size * stride for size, stride in zip(sizes, strides, strict=True)], channels)
    return whole[:, : x_shape[1], : x_shape[2], : x_shape[3]]


def pad_sizes(kernel_size: int) -> tuple[int, int]:
    """Returns the number of zeros before and after an axis, with which a stride of 1 keeps its size."""
    return (kernel_size - 1) // 2, kernel_size // 2


def zeros_before(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], strides: Triple, *, pad: Pad) -> Triple:
    """Returns the number of zeros before time, height and width."""
    if pad == "centered":
        time, height, width = (pad_sizes(size)[0] for size in kernel_shape[:3])
        return time, height, width
    ends = [(num - 1) * stride for num, stride in zip(num_outputs(x_shape, strides), strides, strict=True)]
    time, height, width = (
        max(0, end + num_taps - size) // 2
        for end, num_taps, size in zip(ends, kernel_shape[:3], x_shape[1:4], strict=True)
    )
    return time, height, width


def num_outputs(x_shape: tuple[int, ...], strides: Triple) -> list[int]:
    """Returns the output sizes `[t', h', w']`."""
    return [(size - 1) // stride + 1 for size, stride in zip(x_shape[1:4], strides, strict=True)]


def fold_size(x_shape: tuple[int, ...]) -> int:
    """Returns how many neighbouring columns share a window: gcd(w, 4); gcd(w, 2) for several frames of few channels."""
    return math.gcd(x_shape[3], 2 if x_shape[1] > 1 and x_shape[4] < 16 else 4)


def _windows(x: jax.Array, kernel_shape: tuple[int, ...], fold: int) -> jax.Array:
    """Returns `(b t h+kh-1 w/fold (fold+kw-1)*c)`: the input columns of `fold` neighbouring outputs as channels."""
    _, height, width, channels, _ = kernel_shape
    num = x.shape[3] // fold
    before, after = pad_sizes(width)
    # More zeros than the kernel needs: every block has `fold` columns per window, and the last one drops some of them.
    padded = jnp.pad(x, ((0, 0), (0, 0), pad_sizes(height), (before, after + fold + width - 1), (0, 0)))
    parts, missing = [], fold + width - 1
    for start in range(0, fold + width - 1, fold):
        block = padded[:, :, :, start : start + num * fold].reshape(*padded.shape[:3], num, fold * channels)
        parts.append(block[..., : missing * channels])
        missing -= fold
    return jnp.concatenate(parts, axis=-1)


def _fold_kernel(kernel: jax.Array, fold: int) -> jax.Array:
    """Maps `(kt kh kw c f)` to `(kt kh 1 (fold+kw-1)*c fold*f)`: the kernel, shifted by one column per output."""
    moved = [jnp.pad(kernel, ((0, 0), (0, 0), (place, fold - 1 - place), (0, 0), (0, 0))) for place in range(fold)]
    num_taps, height, width, channels, features = kernel.shape
    folded = jnp.stack(moved, axis=-2)
    return folded.reshape(num_taps, height, 1, (fold + width - 1) * channels, fold * features)


def _meets(x: jax.Array, axis: int, start: int, num_out: int, stride: int) -> jax.Array:
    """Returns the inputs that are aligned with one tap along an axis."""
    return lax.slice_in_dim(x, start, start + (num_out - 1) * stride + 1, stride=stride, axis=axis)


def _sum_over_time(
    x: jax.Array, kernel: jax.Array, stride: int, convolve: Callable[[jax.Array, jax.Array], jax.Array]
) -> jax.Array:
    """Sums over the temporal taps: `convolve` of the frames aligned with a tap and the tap's kernel `(kh kw c f)`."""
    num_taps, num_frames = len(kernel), x.shape[1]
    before, num_out = pad_sizes(num_taps)[0], (num_frames - 1) // stride + 1
    parts = []
    for tap in range(num_taps):
        # Padding is never computed: output o uses input o * stride + tap - before, if it exists.
        first = max(0, -((tap - before) // stride))
        last = min(num_out - 1, (num_frames - 1 - tap + before) // stride)
        if first <= last:
            frames = _meets(x, 1, first * stride + tap - before, last - first + 1, stride)
            part = convolve(frames, kernel[tap])
            parts.append(jnp.pad(part, ((0, 0), (first, num_out - 1 - last), (0, 0), (0, 0), (0, 0))))
    return functools.reduce(operator.add, parts)


def _conv_2d(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """Convolves every frame of `(b t h w c)` on its own with a kernel `(kh kw c f)`."""
    padding = [pad_sizes(size) for size in kernel.shape[:2]]
    frames = x.reshape(-1, *x.shape[2:])
    out = lax.conv_general_dilated(frames, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return out.reshape(*x.shape[:2], *out.shape[1:])


def _side_by_side(x: jax.Array, axis: int, num_taps: int, num_out: int, stride: int) -> jax.Array:
    """Stacks the inputs that are aligned with each tap along an axis as channels."""
    # Stack and reshape are far faster on CPU than concatenation along the last axis.
    stacked = jnp.stack([_meets(x, axis, tap, num_out, stride) for tap in range(num_taps)], axis=-2)
    return stacked.reshape(*stacked.shape[:-2], -1)


def shifted(x: jax.Array, axis: int, step: int, size: int) -> jax.Array:
    """Returns `x[m + step]` for m in range(size) along an axis, with zeros outside x."""
    before, after = max(0, -step), max(0, step + size - x.shape[axis])
    padded = jnp.pad(x, [(before, after) if i == axis else (0, 0) for i in range(x.ndim)])
    return lax.slice_in_dim(padded, step + before, step + before + size, axis=axis)
