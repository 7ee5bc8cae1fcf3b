"""A network as one file of StableHLO, which jax alone runs on CPU, CUDA and TPU."""

from collections.abc import Callable

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

PLATFORMS = ("cpu", "cuda", "tpu")


def to_stablehlo(probs: Callable[[jax.Array], jax.Array], clip_shape: tuple[int, ...]) -> bytes:
    """Returns a file for `jax.export.deserialize`: from uint8 clips `(b t h w c)`, any b, to probabilities `(b k)`.

    Args:
      probs: function from clips to probabilities.
      clip_shape: shape `(t h w c)` of a clip.
    """
    shape = jax.export.symbolic_shape(f"b, {', '.join(map(str, clip_shape))}")
    exported = jax.export.export(jax.jit(probs), platforms=PLATFORMS)(jax.ShapeDtypeStruct(shape, jnp.uint8))
    return bytes(exported.serialize())


def run_stablehlo(model: bytes, clips: np.ndarray) -> np.ndarray:
    """Returns the probabilities `(b k)` of uint8 clips `(b t h w c)`."""
    return np.asarray(jax.export.deserialize(bytearray(model)).call(clips))
