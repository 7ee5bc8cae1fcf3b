"""Max pooling over space and time, with a custom gradient."""

import functools
import itertools
import math

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
    starts = itertools.product(*map(range, window))
    parts = [x[:, t : kept[0] : window[0], h : kept[1] : window[1], w : kept[2] : window[2]] for t, h, w in starts]
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
