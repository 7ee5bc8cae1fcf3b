"""What a network costs: parameters and multiply-adds."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vjax.models.conv import Conv


def count_parameters(params: Any) -> int:
    """Returns the number of trained numbers in a tree of arrays or shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def multiply_adds(network: nn.Module, clip_shape: tuple[int, ...]) -> int:
    """Returns the multiply-adds of one clip `(t h w c)` in convolutions and linear layers, padding included.

    This is the number that papers give, often as "FLOPs"; norms, biases and pooling are not counted. Nothing is
    computed: only shapes are traced.
    """
    total = 0

    def count(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        nonlocal total
        out = call(*args, **kwargs)
        if isinstance(context.module, (Conv, nn.Dense)) and context.method_name == "__call__":
            kernel = context.module.get_variable("params", "kernel")
            # Every output position multiplies the whole kernel once.
            total += math.prod(out.shape[:-1]) * math.prod(kernel.shape)
        return out

    clips = jax.ShapeDtypeStruct((1, *clip_shape), jnp.float32)
    with nn.intercept_methods(count):
        jax.eval_shape(lambda key, x: network.init(key, x, train=False), jax.random.key(0), clips)
    return total
