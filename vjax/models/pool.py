"""Pooling over space and time."""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import lax

from vjax.models.conv_forms import Triple


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(x: jax.Array, window: Triple) -> jax.Array:
    """Returns the maxima over windows that do not overlap: `(b t h w c)` to `(b t//wt h//wh w//ww c)`.

    Frames, rows and columns that do not fill a window are dropped. The gradient goes to the first maximum of a window.
    """
    return _best_and_place(x, window)[0]


def _forward(x, window):
    best, place = _best_and_place(x, window)
    return best, (place, jnp.zeros((0, *x.shape[1:]), x.dtype))


def _backward(window, residuals, grad):
    place, like = residuals
    shape = (len(grad), *like.shape[1:])
    b, t, h, w, c = grad.shape
    parts = [jnp.where(place == i, grad, 0) for i in range(window[0] * window[1] * window[2])]
    whole = jnp.stack(parts).reshape(*window, b, t, h, w, c).transpose(3, 4, 0, 5, 1, 6, 2, 7)
    whole = whole.reshape(b, t * window[0], h * window[1], w * window[2], c)
    # Made once: else XLA makes it anew for each of the norm's sums. 6 % of a small network's step.
    whole = lax.optimization_barrier(whole)
    return (jnp.pad(whole, [(0, size - kept) for size, kept in zip(shape, whole.shape, strict=True)]),)


max_pool.defvjp(_forward, _backward)


def _best_and_place(x: jax.Array, window: Triple) -> tuple[jax.Array, jax.Array]:
    """Returns the maxima, and where in its window each was found first, uint8.

    Both come out of one pass. The gradient must not look for the place again: XLA computes x in several fusions, whose
    results differ in the last digit, so that a maximum of one need not be found in another.
    """
    _, t, h, w, _ = x.shape
    kept = [size // width * width for size, width in zip((t, h, w), window, strict=True)]
    best, place = None, None
    for i, start in enumerate(itertools.product(*map(range, window))):
        part = x[:, start[0] : kept[0] : window[0], start[1] : kept[1] : window[1], start[2] : kept[2] : window[2]]
        if best is None or place is None:
            best, place = part, jnp.zeros(part.shape, jnp.uint8)
        else:
            place = jnp.where(part > best, jnp.uint8(i), place)
            best = jnp.maximum(best, part)
    assert best is not None
    assert place is not None
    return best, place
