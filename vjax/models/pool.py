"""Pooling over space and time."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from vjax.models.conv_forms import Triple


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(x: jax.Array, window: Triple) -> jax.Array:
    """Returns the maxima over windows that do not overlap: `(b t h w c)` to `(b t//wt h//wh w//ww c)`.

    Frames, rows and columns that do not fill a window are dropped. The gradient goes to the first maximum of a window.
    """
    return _windows(x, window).max((2, 4, 6))


def _forward(x, window):
    best = max_pool(x, window)
    return best, (x, best)


def _backward(window, residuals, grad):
    x, best = residuals
    # Places in a window, counted down: of the maxima, the first has the highest.
    places = jnp.arange(math.prod(window), 0, -1, dtype=x.dtype).reshape(1, 1, window[0], 1, window[1], 1, window[2], 1)
    spread = functools.partial(jnp.expand_dims, axis=(2, 4, 6))
    first = jnp.where(_windows(x, window) == spread(best), places, 0).max((2, 4, 6))
    whole = jnp.where(places == spread(first), spread(grad), 0)
    b, t, wt, h, wh, w, ww, c = whole.shape
    # Made once: else XLA makes it anew for each of the norm's sums. 6 % of a small network's step.
    whole = lax.optimization_barrier(whole.reshape(b, t * wt, h * wh, w * ww, c))
    return (jnp.pad(whole, [(0, size - kept) for size, kept in zip(x.shape, whole.shape, strict=True)]),)


max_pool.defvjp(_forward, _backward)


def _windows(x: jax.Array, window: Triple) -> jax.Array:
    """`(b t' wt h' wh w' ww c)`."""
    b, *sizes, c = x.shape
    num = [size // width for size, width in zip(sizes, window, strict=True)]
    kept = x[:, : num[0] * window[0], : num[1] * window[1], : num[2] * window[2]]
    return kept.reshape(b, num[0], window[0], num[1], window[1], num[2], window[2], c)
