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
from vjax.layers.norm import GroupNorm
from vjax.models.receptive_field import Field, receptive_fields

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


class Layer(NamedTuple):
    """A layer of a network, as one clip goes through it.

    Attributes:
      name: path of the module, such as "backbone/Conv_0".
      kind: class of the module.
      shape: shape of the output for one clip, `(t h w c)`, `(v d)` or `(d)`.
      bytes: size of the output.
      parameters: number of parameters.
      multiply_adds: multiply-adds of a clip, padding included; 0 for norms, pools and averages.
      field: receptive field `(t, h, w)`, without the statistics of group and layer norms; None if it is not known.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    bytes: int
    parameters: int
    multiply_adds: int
    field: Field | None = None


def describe_layers(network: nn.Module, clip_shape: tuple[int, ...]) -> list[Layer]:
    """Returns the layers of a network in the order of computation, for one clip `(t h w c)`, with receptive fields.

    A layer is a module that calls no other module. One without parameters that keeps the shape, such as dropout, is
    left out. Nothing is computed: only shapes are traced.

    Raises:
      InputError: the clip is too small for the network.
    """
    layers: list[Layer] = []

    def outputs(clips: jax.Array) -> list[jax.Array]:
        _, calls = _trace(network, clips)
        layers.extend(layer for layer, _ in calls)
        return [out for _, out in calls]

    fields = receptive_fields(outputs, clip_shape)
    if fields is not None:
        layers = [layer._replace(field=field) for layer, field in zip(layers, fields, strict=True)]
    # The parameters of a layer that is called again are those of its first call.
    seen: set[str] = set()
    for number, layer in enumerate(layers):
        layers[number] = layer._replace(parameters=0) if layer.name in seen else layer
        seen.add(layer.name)
    return layers


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
    layers: list[Layer] = []

    def variables(clips: jax.Array) -> Any:
        made, calls = _trace(network, clips)
        layers.extend(layer for layer, _ in calls)
        return made

    shapes = jax.eval_shape(variables, jax.ShapeDtypeStruct((1, *clip_shape), jnp.float32))

    # Refuse a network with a kernel that was not counted.
    counted = {f"{layer.name}/kernel" for layer in layers if layer.multiply_adds}
    leaves: Any = flax.traverse_util.flatten_dict(shapes["params"], sep="/")
    for name, leaf in leaves.items():
        if leaf.ndim > 1 and name not in counted:
            raise InputError(
                f"the multiply-adds of the parameter {name}, of shape {leaf.shape}, are not known: its layer is "
                "neither a convolution nor a linear layer of flax or vjax"
            )
    return ForwardCost(count_parameters(shapes["params"]), sum(layer.multiply_adds for layer in layers))


def _trace(network: nn.Module, clips: jax.Array) -> tuple[Any, list[tuple[Layer, jax.Array]]]:
    """Initialises a network on one clip `(1 t h w c)`; returns the variables, and each layer with its output."""
    calls: list[tuple[Layer, jax.Array]] = []

    def watch(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        module, before = context.module, len(calls)
        out = call(*args, **kwargs)
        if context.method_name != "__call__" or not isinstance(out, jax.Array):
            return out
        if isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
            # Their statistics would extend every receptive field to the clip.
            out = args[0].astype(out.dtype)
        if isinstance(module, GroupNorm):
            del calls[before:]  # flax's norm, whose output this one pools
        if len(calls) == before:
            layer = _layer(module, out)
            if layer.parameters or out.shape != args[0].shape:
                calls.append((layer, out))
        return out

    with nn.intercept_methods(watch):
        variables = network.init(jax.random.key(0), clips, train=False)
    return variables, calls


def _layer(module: nn.Module, out: jax.Array) -> Layer:
    params = module.variables.get("params", {})
    products = 0
    if isinstance(module, COUNTED):
        # Every output position multiplies the whole kernel once.
        products = math.prod(out.shape[:-1]) * math.prod(params["kernel"].shape)
    # A 2D network passes the frames of a clip as clips of one frame.
    shape = (out.shape[0] * out.shape[1], *out.shape[2:]) if out.ndim == 5 else out.shape[1:]
    size = out.size * out.dtype.itemsize
    return Layer("/".join(module.path), type(module).__name__, shape, size, count_parameters(params), products)


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
