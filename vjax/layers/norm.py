"""Norm layers: batch norm with a custom gradient, group norm, and an offset in their place."""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from vjax.errors import InputError
from vjax.layers.conv_forms import Triple
from vjax.layers.pool import find_maxima, max_pool, spread

NO_POOL: Triple = (1, 1, 1)


def norm_layer(kind: str, *, train: bool, dtype: Any) -> Callable[..., nn.Module]:
    """Returns a constructor of norm layers.

    "batch" normalizes over all axes but channels, "group" within a clip; "none" only adds an offset to each channel.
    """
    if kind == "batch":
        return functools.partial(BatchNorm, train=train, dtype=dtype)
    if kind == "group":
        return functools.partial(GroupNorm, dtype=dtype)
    if kind == "none":
        return functools.partial(Offset, dtype=dtype)
    raise InputError(f"a backbone's norm is 'batch', 'group' or 'none', got {kind!r}")


class BatchNorm(nn.Module):
    """Batch norm over all axes but the last.

    The statistics are those of the global batch: under a sharded jit the sums run over all devices. In training the
    norm uses the running statistics instead, and keeps them, if the collection `batch_stats` is not mutable.

    Source: Ioffe and Szegedy 2015, "Batch normalization". Deviation: the running variance averages the biased variance
    of the batches, not multiplied by n / (n - 1).

    Attributes:
      train: whether to use the batch's statistics and update the running ones, if `batch_stats` is mutable; otherwise
        the running ones are used.
      momentum: share of the running statistics that a step keeps.
      dtype: dtype of the output; statistics are float32.
      scale_init: initializer of the scale.
      pool: window of a max pool after the norm; (1, 1, 1) for none.
      epsilon: number that is added to the variance.
    """

    train: bool
    momentum: float = 0.9
    dtype: Any = jnp.float32
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    pool: Triple = NO_POOL
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(... c)` to the same shape; with a pool `(b t h w c)` to `(b t//wt h//wh w//ww c)`."""
        shape = x.shape[-1:]
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        variance = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", self.scale_init, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        if not self.train or not self.is_mutable_collection("batch_stats"):
            out = _normalize(x, scale, bias, mean.value, variance.value, self.epsilon).astype(self.dtype)
            return out if self.pool == NO_POOL else max_pool(out, self.pool)
        out, batch_mean, batch_variance = normalize_batch(x, scale, bias, self.pool, self.epsilon)
        if not self.is_initializing():
            mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
            variance.value = self.momentum * variance.value + (1 - self.momentum) * batch_variance
        return out.astype(self.dtype)


class GroupNorm(nn.Module):
    """Group norm over 8 groups of channels, or over gcd(8, c) groups if 8 does not divide the channels c.

    Source: Wu and He 2018, "Group normalization". Deviation: 8 groups, not 32, for backbones as narrow as 16 channels.

    Attributes:
      dtype: dtype of the output; statistics are float32.
      scale_init: initializer of the scale.
      pool: window of a max pool after the norm; (1, 1, 1) for none.
    """

    dtype: Any = jnp.float32
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    pool: Triple = NO_POOL

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(... c)` to the same shape; with a pool `(b t h w c)` to `(b t//wt h//wh w//ww c)`."""
        num_groups = math.gcd(8, x.shape[-1])
        # The fast variance, E[x^2] - E[x]^2, is wrong if the mean is much larger than the standard deviation.
        norm = nn.GroupNorm(num_groups, dtype=self.dtype, scale_init=self.scale_init, use_fast_variance=False)
        out = norm(x)
        return out if self.pool == NO_POOL else max_pool(out, self.pool)


class Offset(nn.Module):
    """An offset for each channel, in the place of a norm: what a convolution has without a norm.

    Attributes:
      dtype: dtype of the output.
      pool: window of a max pool after the offset; (1, 1, 1) for none.
    """

    dtype: Any = jnp.float32
    pool: Triple = NO_POOL

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(... c)` to the same shape; with a pool `(b t h w c)` to `(b t//wt h//wh w//ww c)`."""
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        # An offset keeps the order of a channel's values, so fewer are left to add it to.
        pooled = x if self.pool == NO_POOL else max_pool(x, self.pool)
        return (_widen(pooled) + bias).astype(self.dtype)


def normalize_batch(
    x: jax.Array, scale: jax.Array, bias: jax.Array, window: Triple, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalizes each channel, then scales, shifts and pools it; returns the result, the mean and the variance.

    No gradient flows through the returned mean and variance.

    Args:
      x: array `(... c)`; with a max pool `(b t h w c)`.
      scale: factor of each channel, `(c)`.
      bias: offset of each channel, `(c)`.
      window: window of a max pool after the norm; (1, 1, 1) for none.
      epsilon: number that is added to the variance.
    """
    return _normalize_batch(x, scale, bias, window, epsilon)


# JAX's derived gradient passes over x nine times, this one twice. It keeps x, and the pool's maxima and their places.
@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _normalize_batch(x, scale, bias, window, epsilon):
    return _normalize_forward(x, scale, bias, window, epsilon)[0]


def _normalize_forward(x, scale, bias, window, epsilon):
    axes = tuple(range(x.ndim - 1))
    wide = _widen(x)
    # The mean comes first: E[x^2] - E[x]^2 loses the variance if the mean is much larger than the standard deviation.
    mean = wide.mean(axes)
    variance = jnp.square(wide - mean).mean(axes)
    maxima, places = x, None
    if window != NO_POOL:
        # A norm keeps or (scale < 0) reverses the order of a channel's values. So the maxima are found first, and only
        # they are normalized.
        sign = jnp.where(scale < 0, -1, 1).astype(x.dtype)
        maxima, places = find_maxima(x * sign, window)
        maxima = maxima * sign
    out = _normalize(maxima, scale, bias, mean, variance, epsilon)
    return (out, mean, variance), (x, maxima, places, scale, mean, variance)


def _normalize_backward(window, epsilon, residuals, gradients):
    x, maxima, places, scale, mean, variance = residuals
    axes, num = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    inverse = lax.rsqrt(variance + epsilon)
    grad = _widen(gradients[0])
    # Only the maxima receive a gradient, so these sums need no other values.
    to_bias = grad.sum(axes)
    to_scale = (grad * (_widen(maxima) - mean)).sum(axes) * inverse
    if places is not None:
        grad = spread(grad, places, window, sizes=x.shape[1:4])
    centered = _widen(x) - mean
    to_x = (scale * inverse) * (grad - to_bias / num - centered * (inverse * to_scale / num))
    # The barrier makes XLA compute this once, and not again for each gradient of the convolution that reads it.
    return lax.optimization_barrier(to_x.astype(x.dtype)), to_scale, to_bias


_normalize_batch.defvjp(_normalize_forward, _normalize_backward)


def _normalize(x, scale, bias, mean, variance, epsilon):
    return ((_widen(x) - mean) * (scale * lax.rsqrt(variance + epsilon)) + bias).astype(x.dtype)


def _widen(x):
    """Returns x in float32 or wider."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
