"""The fully connected layers that end the networks of 2012 to 2015, and the one shape of clips that they take."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vjax.errors import InputError
from vjax.models.fusion import check_rank


class FullyConnected(nn.Module):
    """Two fully connected layers, each with a ReLU; dropout follows the first, and the head begins with another.

    Source: Krizhevsky et al. 2012, "ImageNet classification with deep convolutional neural networks". Deviations:
    kernels start from He et al. 2015 and biases at 0, not from a fixed deviation and at 1; dropout scales up what it
    keeps in training, instead of scaling down at test time.

    Attributes:
      dropout: rate, in [0, 1), of the dropout between the two layers; active in training only.
      width: width of the two layers.
      dtype: dtype of the two layers; parameters stay float32.
    """

    dropout: float
    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b v d)` to features `(b v width)`."""
        he_normal = nn.initializers.he_normal()
        hidden = nn.relu(nn.Dense(self.width, dtype=self.dtype, kernel_init=he_normal, name="fc6")(features))
        hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
        return nn.relu(nn.Dense(self.width, dtype=self.dtype, kernel_init=he_normal, name="fc7")(hidden))


def check_clips(clips: jax.Array, *, num_frames: int | None, size: int, what: str) -> None:
    """Raises an InputError if clips `(b t h w c)` do not have the shape that a network's layers are made for.

    Args:
      clips: clips to check.
      num_frames: number of frames that a clip must have; None for any number.
      size: height and width that a frame must have.
      what: name of the network.
    """
    check_rank(clips)
    given, height, width = clips.shape[1:4]
    if (height, width) != (size, size) or num_frames not in (None, given):
        frames = "any number of frames" if num_frames is None else f"{num_frames} frames"
        raise InputError(
            f"{what} takes clips with {frames} of {size} x {size}, because its fully connected layers are made for "
            f"them; got {given} frame(s) of {height} x {width}; set config.clip.num_frames and config.clip.size"
        )
