"""The inference that an exported network runs: from uint8 clips to probabilities, with its variables inside."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vjax.evaluation.infer import infer
from vjax.ops.clip_input import ClipInput


def make_inference(
    network: nn.Module, variables: Any, clip_input: ClipInput, *, half: bool
) -> Callable[[jax.Array], jax.Array]:
    """Returns the function from uint8 clips `(b t h w c)` to probabilities `(b k)`, float32.

    Args:
      network: network that maps clips to logits `(b v k)`.
      variables: variables of the network.
      clip_input: conversion of uint8 clips to the input of the network.
      half: whether kernels are stored as float16; they are computed with in float32.
    """
    stored = jax.tree.map(_halve if half else np.asarray, jax.device_get(variables))

    def probs(clips: jax.Array) -> jax.Array:
        # The barrier keeps XLA from computing what follows from constants alone while it compiles: for C3D that takes
        # minutes. And halves stay halves in the program.
        wide = jax.tree.map(_widen, lax.optimization_barrier(stored))
        return infer(network, wide, clips, clip_input=clip_input).probs

    return probs


def _halve(leaf: np.ndarray) -> np.ndarray:
    # Norms stay: a variance may be larger than the largest number of 16 bits.
    return leaf.astype(np.float16) if leaf.ndim > 1 and leaf.dtype == np.float32 else leaf


def _widen(leaf: jax.Array) -> jax.Array:
    return leaf.astype(jnp.float32) if leaf.dtype == jnp.float16 else leaf
