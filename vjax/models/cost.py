"""The cost of a network: parameters, multiply-adds, and the memory that its backward pass needs."""

import math
import re
from typing import Any, NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp

from vjax.errors import InputError
from vjax.layers.conv import Conv
from vjax.layers.depthwise import DepthwiseConv

# Layers with a kernel that every output position multiplies once: (... d k), or (... 1 c) for depthwise ones.
COUNTED = (Conv, DepthwiseConv, nn.Conv, nn.Dense)
_NUMBERS = re.compile(r"(\d+)")


def count_parameters(params: Any) -> int:
    """Returns the number of parameters in a tree of arrays or shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def parameters_by_layer(params: Any) -> dict[str, int]:
    """Returns the number of parameters of each layer, by the first two parts of its path, in natural order.

    >>> layer = {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}
    >>> parameters_by_layer({"head": {"logits": layer}, "backbone": {"Block_10": {"Conv_0": layer}, "Block_9": layer}})
    {'backbone/Block_9': 8, 'backbone/Block_10': 8, 'head/logits': 8}
    """
    leaves: Any = flax.traverse_util.flatten_dict(params)
    sizes: dict[str, int] = {}
    for (*layers, leaf_name), leaf in leaves.items():
        name = "/".join(layers[:2]) or leaf_name
        sizes[name] = sizes.get(name, 0) + math.prod(leaf.shape)

    def natural(name: str) -> list[str | int]:
        return [int(part) if part.isdigit() else part for part in _NUMBERS.split(name)]

    return {name: sizes[name] for name in sorted(sizes, key=natural)}


class ForwardCost(NamedTuple):
    """What one clip costs on its way through a network.

    Attributes:
      parameters: number of parameters.
      multiply_adds: multiply-adds in convolutions and linear layers.
    """

    parameters: int
    multiply_adds: int


def multiply_adds(network: nn.Module, clip_shape: tuple[int, ...]) -> int:
    """Returns the multiply-adds of one clip `(t h w c)`; see `forward_cost`."""
    return forward_cost(network, clip_shape).multiply_adds


def forward_cost(network: nn.Module, clip_shape: tuple[int, ...]) -> ForwardCost:
    """Returns the parameters of a network, and the multiply-adds of one clip `(t h w c)`, padding included.

    Multiply-adds are the number that papers give, often as "FLOPs"; norms, biases and pooling are not counted. Nothing
    is computed: only shapes are traced.

    Raises:
      InputError: a layer has a parameter of two axes or more and is not in `COUNTED`.
    """
    # Count each call of a known layer, and remember its kernel.
    total, counted = 0, set()

    def count(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        nonlocal total
        out = call(*args, **kwargs)
        if isinstance(context.module, COUNTED) and context.method_name == "__call__":
            kernel = context.module.get_variable("params", "kernel")
            # Every output position multiplies the whole kernel once.
            total += math.prod(out.shape[:-1]) * math.prod(kernel.shape)
            counted.add("/".join((*context.module.path, "kernel")))
        return out

    # Trace the network on one clip.
    clips = jax.ShapeDtypeStruct((1, *clip_shape), jnp.float32)
    with nn.intercept_methods(count):
        variables = jax.eval_shape(lambda key, x: network.init(key, x, train=False), jax.random.key(0), clips)

    # Refuse a network with a kernel that was not counted.
    leaves: Any = flax.traverse_util.flatten_dict(variables["params"], sep="/")
    for name, leaf in leaves.items():
        if leaf.ndim > 1 and name not in counted:
            raise InputError(
                f"the multiply-adds of the parameter {name}, of shape {leaf.shape}, are not known: its layer is "
                "neither a convolution nor a linear layer of flax or vjax"
            )
    return ForwardCost(count_parameters(variables["params"]), total)


class ResidualBytes(NamedTuple):
    """The residuals that the forward pass keeps for the backward pass, in bytes per clip.

    Attributes:
      total: bytes of all arrays together.
      largest: bytes of the largest array.
    """

    total: int
    largest: int


def residual_bytes(network: nn.Module, clip_shape: tuple[int, ...]) -> ResidualBytes:
    """Returns the residuals that each further clip `(t h w c)` of a batch adds to memory.

    The shapes of the arrays that JAX passes from the forward to the backward pass give the numbers. XLA may keep less,
    because it may recompute a cheap array.
    """

    def keep(key: jax.Array, clips: jax.Array) -> Any:
        variables = network.init(key, clips, train=False)

        def logits(params: Any) -> Any:
            of_training = {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": key}}
            return network.apply({**variables, "params": params}, clips, **of_training)[0]

        return jax.vjp(logits, variables["params"])[1]

    def sizes(num_clips: int) -> list[int]:
        clips = jax.ShapeDtypeStruct((num_clips, *clip_shape), jnp.float32)
        leaves = jax.tree.leaves(jax.eval_shape(keep, jax.random.key(0), clips))
        return [math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves]

    # The parameters do not grow with the batch, so the difference leaves them out.
    each = [two - one for one, two in zip(sizes(1), sizes(2), strict=True)]
    return ResidualBytes(sum(each), max(each))
