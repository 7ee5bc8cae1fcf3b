"""Features of videos: the numbers that a network's classifier takes, for another classifier or a search."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vjax import mesh as meshes
from vjax.data.transforms import TestView
from vjax.data.video import Video
from vjax.errors import InputError
from vjax.evaluation.predict import infer_each
from vjax.models.fusion import CLASSIFIER
from vjax.ops.clip_input import ClipInput


@dataclasses.dataclass(frozen=True)
class Features:
    """The features of videos, float32.

    Attributes:
      names: names of the videos.
      clips: `(num_videos n v d)`, features of the n views of a video: its clips in order of time, and their crops. A
        view has v of them: one, or one for each frame (single frame) or window of the last pool (S3D, SlowFast, X3D).
      videos: `(num_videos d)`, features of each video: the mean over its views and over v.
    """

    names: tuple[str, ...]
    clips: np.ndarray
    videos: np.ndarray


def extract_features(
    videos: Sequence[Video],
    view: TestView,
    clip_features: Callable[[Any], jax.Array],
    *,
    batch_size: int,
    mesh: Mesh,
) -> Features:
    """Returns the features of videos, in their order.

    Args:
      videos: videos, at least one.
      view: clips and crops that are taken from each video.
      clip_features: function from global clips `(b t h w c)` to replicated features `(b v d)`; see `compile_features`.
      batch_size: videos per batch, rounded up to a multiple of the devices; one view of each is inferred at a time.
      mesh: device mesh.

    Raises:
      InputError: there are no videos.
      VideoError: a video can no longer be read.
    """
    if not videos:
        raise InputError("there are no videos to compute the features of; give one or more")
    found = list(infer_each(videos, view, clip_features, batch_size=batch_size, mesh=mesh))
    clips = np.stack([features for _, features in found])
    return Features(tuple(video.name for video, _ in found), clips, clips.mean(axis=(1, 2)))


def compile_features(
    network: nn.Module, clip_input: ClipInput, mesh: Mesh
) -> Callable[[Any], Callable[[Any], jax.Array]]:
    """Jits the features once; calling the result with variables gives a function from global clips to features."""
    jitted = jax.jit(
        functools.partial(head_input, network, clip_input=clip_input), out_shardings=meshes.replicated(mesh)
    )
    return lambda variables: functools.partial(jitted, variables)


def head_input(network: nn.Module, variables: Any, clips: jax.Array, *, clip_input: ClipInput) -> jax.Array:
    """Returns the features `(b v d)` of uint8 clips `(b t h w c)`: the input of the layer from features to logits.

    Raises:
      InputError: the network does not call a layer `head/logits` once, on features `(b v d)` or `(b d)`.
    """
    found = []

    def keep(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.method_name == "__call__" and "/".join(context.module.path) == CLASSIFIER:
            found.extend(args)
        return call(*args, **kwargs)

    with nn.intercept_methods(keep):
        network.apply(variables, clip_input(clips), train=False)
    shapes = [features.shape for features in found]
    if len(found) != 1 or found[0].ndim not in (2, 3):
        raise InputError(
            f"the features of a network are the input, (b v d) or (b d), of its layer {CLASSIFIER} (as in "
            f"vjax.models.fusion.Head); this {type(network).__name__} gives that layer {shapes or 'nothing'}"
        )
    features = found[0].astype(jnp.float32)
    return features if features.ndim == 3 else features[:, None]
