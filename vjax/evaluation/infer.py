"""The rule that turns logits into probabilities and a loss, for training, evaluation and prediction; and inference.

Logits `(b v k)` are v independent opinions on one clip. The loss is their mean cross-entropy. The probabilities of
a clip are the mean of their softmax; those of a video are the mean over its clips.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from vjax import mesh as meshes
from vjax.ops.clip_input import ClipInput

T = TypeVar("T")


class ClipProbs(NamedTuple):
    """The probabilities of clips.

    Attributes:
      probs: `(b k)`, mean over v of the softmax.
      log_probs: `(b k)`, mean over v of the log softmax; the loss is the negative of its entry at the label.
    """

    probs: jax.Array
    log_probs: jax.Array


def clip_probs(logits: jax.Array) -> ClipProbs:
    """Returns the probabilities `(b k)` of clips with logits `(b v k)`."""
    chex.assert_rank(logits, 3)
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
    return ClipProbs(jnp.exp(log_probs).mean(axis=1), log_probs.mean(axis=1))


def cross_entropy(logits: jax.Array, target: jax.Array, *, label_smoothing: float) -> jax.Array:
    """Returns the cross-entropy of each clip, `(b)`: the mean over v.

    Args:
      logits: logits `(b v k)`.
      target: `(b k)`, share of each class; it is one-hot if clips are not mixed.
      label_smoothing: share of the target that is spread evenly over all classes.
    """
    chex.assert_rank([logits, target], [3, 2])
    chex.assert_equal_shape_prefix([logits, target], 1)
    smooth = optax.smooth_labels(target, label_smoothing)
    return optax.softmax_cross_entropy(logits.astype(jnp.float32), smooth[:, None]).mean(axis=1)


def infer(network: nn.Module, variables: Any, clips: jax.Array, *, clip_input: ClipInput) -> ClipProbs:
    """Returns the probabilities of uint8 clips `(b t h w c)`; a pure function that the caller jits."""
    logits = network.apply(variables, clip_input(clips), train=False)
    assert isinstance(logits, jax.Array)
    return clip_probs(logits)


def compile_infer(network: nn.Module, clip_input: ClipInput, mesh: Mesh) -> Callable[[Any], Callable[[Any], ClipProbs]]:
    """Jits inference once; calling the result with variables gives a function from global clips to probabilities."""
    jitted = jax.jit(functools.partial(infer, network, clip_input=clip_input), out_shardings=meshes.replicated(mesh))
    return lambda variables: functools.partial(jitted, variables)


def infer_views(infer_clips: Callable[[np.ndarray], T], views: np.ndarray) -> T:
    """Returns the outputs `(b n ...)` for the n views of every video, `(b n t h w c)`; probabilities are `(b n k)`.

    One view of every video is on the devices at a time, so the device memory does not depend on the number of views.
    """
    outputs = [infer_clips(views[:, index]) for index in range(views.shape[1])]
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves], axis=1), *outputs)
