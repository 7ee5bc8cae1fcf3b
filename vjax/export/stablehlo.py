"""A network as one file of StableHLO, which jax alone runs on CPU, CUDA and TPU."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from vjax.errors import InputError
from vjax.evaluation.infer import infer
from vjax.ops.clip_input import ClipInput
from vjax.text import shorten

PLATFORMS = ("cpu", "cuda", "tpu")
_WIDEST = 200  # characters of an error that is not ours


def to_stablehlo(probs: Callable[[jax.Array], jax.Array], clip_shape: tuple[int, ...]) -> bytes:
    """Returns a file for `jax.export.deserialize`: from uint8 clips `(b t h w c)`, any b, to probabilities `(b k)`.

    Args:
      probs: function from clips to probabilities.
      clip_shape: shape `(t h w c)` of a clip.
    """
    return _serialize(probs, clip_shape=clip_shape)


def inference_program(network: nn.Module, variables: Any, clip_input: ClipInput, clip_shape: tuple[int, ...]) -> bytes:
    """Returns a file for `jax.export.deserialize`: from variables and uint8 clips `(b t h w c)` to probabilities.

    It holds no numbers, so it serves every checkpoint of a run.

    Args:
      network: network that maps clips to logits `(b v k)`.
      variables: its variables, or their shapes.
      clip_input: conversion of uint8 clips to the input of the network.
      clip_shape: shape `(t h w c)` of a clip.

    Raises:
      InputError: the network cannot be exported.
    """

    def probs(variables: Any, clips: jax.Array) -> jax.Array:
        return infer(network, variables, clips, clip_input=clip_input).probs

    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), variables)
    try:
        return _serialize(probs, shapes, clip_shape=clip_shape)
    except Exception as error:  # a network may raise anything for a batch of unknown size
        said = shorten(" ".join(f"{type(error).__name__}: {error}".split()), _WIDEST)
        raise InputError(
            f"this network cannot be exported as StableHLO ({said}). An export traces it with a batch of unknown size, "
            "so it must not ask for the number of clips"
        ) from error


def _serialize(function: Callable[..., jax.Array], *inputs: Any, clip_shape: tuple[int, ...]) -> bytes:
    """Returns a function of inputs of fixed shapes, and of clips, as a file."""
    shape = jax.export.symbolic_shape(f"b, {', '.join(map(str, clip_shape))}")
    exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(
        *inputs, jax.ShapeDtypeStruct(shape, jnp.uint8)
    )
    return bytes(exported.serialize())


def load_stablehlo(model: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function from uint8 clips `(b t h w c)` to probabilities `(b k)` of a file."""
    call = jax.jit(jax.export.deserialize(bytearray(model)).call)
    return lambda clips: np.asarray(call(clips))
