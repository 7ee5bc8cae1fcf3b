"""Variables of a network in the middle of its life: nothing is zero, no norm is the identity."""

import math

import jax
import jax.numpy as jnp
import numpy as np


def random_variables(module, clip_shape):
    """Returns variables of a module's shapes, drawn by numpy, which unlike `init` compiles nothing."""
    clips = jax.ShapeDtypeStruct((1, *clip_shape), jnp.float32)
    shapes = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), clips)
    rng = np.random.default_rng(0)
    return jax.tree.map_with_path(lambda path, leaf: _draw(path[-1].key, leaf.shape, rng), shapes)


def _draw(name, shape, rng):
    noise = rng.normal(size=shape)
    match name:
        case "kernel":
            values = noise * math.sqrt(2 / math.prod(shape[:-1]))
        case "scale" | "var":
            values = np.exp(0.3 * noise)
        case "bias" | "mean":
            values = 0.2 * noise
    return values.astype(np.float32)
