"""Pooling over space and time; max pools have a custom gradient."""

import functools
import itertools
import math
import operator

import chex
import jax
import jax.numpy as jnp
from jax import lax

from vjax.layers.conv_forms import Triple


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(x: jax.Array, window: Triple) -> jax.Array:
    """Returns the maxima over non-overlapping windows: `(b t h w c)` to `(b t//wt h//wh w//ww c)`.

    Frames, rows and columns that do not fill a window are dropped. The gradient goes to the first maximum of a window.
    """
    return find_maxima(x, window)[0]


def _forward(x, window):
    maxima, places = find_maxima(x, window)
    return maxima, (places, jnp.zeros((0, *x.shape[1:]), x.dtype))


def _backward(window, residuals, grad):
    places, like = residuals
    return (spread(grad, places, window, sizes=like.shape[1:4]),)


max_pool.defvjp(_forward, _backward)


def find_maxima(x: jax.Array, window: Triple) -> tuple[jax.Array, jax.Array]:
    """Returns the maximum of each window, `(b t' h' w' c)`, and the place of its first maximum, uint8.

    Both come from one pass. The backward pass must not search for the place by comparing x with the maximum: XLA may
    compute x in several fusions, whose results differ in the last digit, so one may not contain the maximum of another.
    """
    chex.assert_rank(x, 5)
    kept = [size // width * width for size, width in zip(x.shape[1:4], window, strict=True)]
    # lax.slice, because indexing a batch of any size is a gather.
    stops, strides = (x.shape[0], *kept, x.shape[4]), (1, *window, 1)
    parts = [lax.slice(x, (0, *starts, 0), stops, strides) for starts in itertools.product(*map(range, window))]
    maxima, places = parts[0], jnp.zeros(parts[0].shape, jnp.uint8)
    for place, part in enumerate(parts[1:], start=1):
        places = jnp.where(part > maxima, jnp.uint8(place), places)
        maxima = jnp.maximum(maxima, part)
    return maxima, places


def spread(values: jax.Array, places: jax.Array, window: Triple, *, sizes: tuple[int, ...]) -> jax.Array:
    """Returns `(b *sizes c)` with each value at its place in its window and zeros elsewhere."""
    b, t, h, w, c = values.shape
    over_window = functools.partial(jnp.expand_dims, axis=(2, 4, 6))
    numbers = jnp.arange(math.prod(window), dtype=jnp.uint8).reshape(1, 1, window[0], 1, window[1], 1, window[2], 1)
    whole = jnp.where(over_window(places) == numbers, over_window(values), 0)
    whole = whole.reshape(b, t * window[0], h * window[1], w * window[2], c)
    return lax.pad(
        whole,
        jnp.zeros((), whole.dtype),
        [(0, 0, 0), *[(0, size - filled, 0) for size, filled in zip(sizes, whole.shape[1:4], strict=True)], (0, 0, 0)],
    )


def overlapping_max_pool(x: jax.Array, window: Triple, strides: Triple) -> jax.Array:
    """Returns the maxima over windows of odd sizes: `(b t h w c)` to `(b ceil(t/st) ceil(h/sh) ceil(w/sw) c)`.

    The first window is centred on the first position, the next one `strides` further. The border is padded with -inf,
    as in PyTorch with a padding of (window - 1) / 2. The gradient goes to the first maximum of a window.
    """
    chex.assert_rank(x, 5)
    # One axis after the other: 9 comparisons instead of 27. The last axis comes first, and each keeps the first of
    # equal maxima, so together they find the first one in the window.
    for axis in (3, 2, 1):
        size, stride = window[axis - 1], strides[axis - 1]
        assert size % 2, f"a window of {window} has no centre"
        if (size, stride) != (1, 1):
            x = _max_along(x, axis, size, stride)
    return x


# On CPU, the gradient of lax.reduce_window takes 5 to 100 times as long: it is a scatter.
@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_along(x, axis, size, stride):
    return _along_forward(x, axis, size, stride)[0]


def _along_forward(x, axis, size, stride):
    """Finds the maxima of windows along one axis and, in the same pass, the places of the first ones, as uint8."""
    before, last = size // 2, (x.shape[axis] - 1) // stride * stride
    padded = _pad_axis(x, axis, before, before, value=-jnp.inf)
    taps = [lax.slice_in_dim(padded, tap, tap + last + 1, stride, axis) for tap in range(size)]
    maxima, places = taps[0], jnp.zeros(taps[0].shape, jnp.uint8)
    for place, tap in enumerate(taps[1:], start=1):
        places = jnp.where(tap > maxima, jnp.uint8(place), places)
        maxima = jnp.maximum(maxima, tap)
    return maxima, (places, jnp.zeros((0, *x.shape[1:]), x.dtype))


def _along_backward(axis, size, stride, residuals, grad):
    places, like = residuals
    # Inputs fall into phases, their positions modulo the stride. Input m * stride + phase is at place p of the window
    # of output m + (phase + size // 2 - p) / stride, if that is an integer.
    phases = []
    for phase in range(stride):
        total = jnp.zeros_like(grad)
        for place in range(size):
            step, between = divmod(phase + size // 2 - place, stride)
            if not between:
                total = total + _pad_axis(jnp.where(places == place, grad, 0), axis, -step, step, value=0)
        phases.append(total)
    # Interleave the phases, and cut off what is left of the last stride.
    whole = jnp.stack(phases, axis + 1).reshape(*grad.shape[:axis], -1, *grad.shape[axis + 1 :])
    return (lax.slice_in_dim(whole, 0, like.shape[axis], axis=axis),)


_max_along.defvjp(_along_forward, _along_backward)


def _pad_axis(x: jax.Array, axis: int, before: int, after: int, *, value: float) -> jax.Array:
    """Pads an axis with a value; a negative number cuts off."""
    return lax.pad(
        x, jnp.asarray(value, x.dtype), [(before, after, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)]
    )


def average_windows(x: jax.Array, window: Triple) -> jax.Array:
    """Returns the means over all windows within the clip: `(b t h w c)` to `(b t-wt+1 h-wh+1 w-ww+1 c)`.

    A window that is larger than the clip along an axis covers that axis.
    """
    chex.assert_rank(x, 5)
    for axis, width in enumerate(window, start=1):
        size = x.shape[axis]
        width = min(width, size)
        taps = [lax.slice_in_dim(x, tap, tap + size - width + 1, axis=axis) for tap in range(width)]
        x = functools.reduce(operator.add, taps) / width
    return x
