"""Norms: batch norm with a gradient of its own, and group norm."""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from vjax.errors import InputError

EPSILON = 1e-5


def norm_layer(kind: str, *, train: bool, dtype: Any) -> Callable[..., nn.Module]:
    """Returns what makes a norm layer: `"batch"` over everything but channels, `"group"` within each clip."""
    if kind == "batch":
        return functools.partial(BatchNorm, train=train, dtype=dtype)
    if kind == "group":
        return functools.partial(GroupNorm, dtype=dtype)
    raise InputError(f"a trunk's norm is 'batch' or 'group', got {kind!r}")


class BatchNorm(nn.Module):
    """Batch norm over all axes but the last.

    The statistics are those of the global batch: under a sharded jit the sums are over all devices.

    Source: Ioffe and Szegedy 2015, "Batch normalization". The running variance is that of the batch as it is, not
    multiplied by n / (n - 1).

    Attributes:
      train: whether to take the batch's statistics and update the running ones, or to take those.
      momentum: share of the running statistics that a step keeps.
      dtype: of the output; statistics are float32.
      scale_init: of the scale.
    """

    train: bool
    momentum: float = 0.9
    dtype: Any = jnp.float32
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(... c)` to the same shape."""
        shape = x.shape[-1:]
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        variance = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", self.scale_init, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        if not self.train:
            return _normalize(x, scale, bias, mean.value, variance.value).astype(self.dtype)
        out, batch_mean, batch_variance = normalize_batch(x, scale, bias)
        if not self.is_initializing():
            mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
            variance.value = self.momentum * variance.value + (1 - self.momentum) * batch_variance
        return out.astype(self.dtype)


class GroupNorm(nn.Module):
    """Group norm over 8 groups of channels, or as many of them as divide the channels.

    Source: Wu and He 2018, "Group normalization". Deviation: 8 groups, not 32, for trunks as narrow as 16 channels.
    """

    dtype: Any = jnp.float32
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(b t h w c)` to the same shape."""
        num_groups = math.gcd(8, x.shape[-1])
        return nn.GroupNorm(num_groups, dtype=self.dtype, scale_init=self.scale_init)(x)


# The gradient that XLA derives passes over x nine times; this one three times. It keeps x and 2 c numbers.
@jax.custom_vjp
def normalize_batch(x: jax.Array, scale: jax.Array, bias: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns `x (... c)` with mean 0 and variance 1 in each channel, times scale, plus bias; the mean; the variance.

    No gradient passes through the mean and the variance that it returns.
    """
    axes = tuple(range(x.ndim - 1))
    wide = x.astype(jnp.float32)
    mean = wide.mean(axes)
    variance = jnp.maximum((wide * wide).mean(axes) - mean * mean, 0)
    return _normalize(x, scale, bias, mean, variance), mean, variance


def _normalize_forward(x, scale, bias):
    out, mean, variance = normalize_batch(x, scale, bias)
    return (out, mean, variance), (x, scale, mean, variance)


def _normalize_backward(residuals, gradients):
    x, scale, mean, variance = residuals
    axes, num = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    inverse = lax.rsqrt(variance + EPSILON)
    grad = gradients[0].astype(jnp.float32)
    unit = (x.astype(jnp.float32) - mean) * inverse
    to_bias, to_scale = grad.sum(axes), (grad * unit).sum(axes)
    to_x = scale * inverse * (grad - to_bias / num - unit * (to_scale / num))
    # Made once: else XLA makes it anew wherever the convolution's gradients read it.
    return lax.optimization_barrier(to_x.astype(x.dtype)), to_scale, to_bias


normalize_batch.defvjp(_normalize_forward, _normalize_backward)


def _normalize(x, scale, bias, mean, variance):
    return ((x.astype(jnp.float32) - mean) * (scale * lax.rsqrt(variance + EPSILON)) + bias).astype(x.dtype)
