"""Prediction: from videos to ranked class names, with the same inference as evaluation."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from vjax.data.decode import VideoError
from vjax.data.lost import reason_of
from vjax.data.transforms import TestView
from vjax.data.video import Video
from vjax.evaluation.evaluate import infer_videos
from vjax.evaluation.infer import ClipProbs

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class ClipPrediction:
    """The probabilities of one clip of a video.

    Attributes:
      start_s: start of the clip's first frame, in seconds from the start of the video.
      end_s: end of its last frame, in seconds; a looped clip ends with its video.
      probs: `(k)`, probabilities of the clip, the mean over its crops.
    """

    start_s: float
    end_s: float
    probs: np.ndarray


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The probabilities of a video.

    Attributes:
      name: name of the video.
      probs: `(k)`, probabilities of the video, the mean over its clips.
      clips: probabilities of its clips, in order of time.
    """

    name: str
    probs: np.ndarray
    clips: list[ClipPrediction]

    def ranked(self, class_names: Sequence[str]) -> list[tuple[str, float]]:
        """Returns class names with their probabilities, the most probable first."""
        return rank(self.probs, class_names)


def rank(probs: np.ndarray, class_names: Sequence[str]) -> list[tuple[str, float]]:
    """Returns class names with their probabilities `(k)`, the most probable first."""
    return [(class_names[int(i)], float(probs[i])) for i in np.argsort(-probs, kind="stable")]


def predict(
    videos: Sequence[Video],
    view: TestView,
    infer_clips: Callable[[Any], ClipProbs],
    *,
    batch_size: int,
    mesh: Mesh,
) -> list[Prediction]:
    """Returns the predictions for videos, in their order; the arguments are those of `evaluate`.

    Raises:
      VideoError: a video can no longer be read.
    """
    rows = infer_each(videos, view, infer_clips, batch_size=batch_size, mesh=mesh)
    probs = ((video, np.asarray(found.probs)) for video, found in rows)
    return [Prediction(video.name, found.mean(axis=0), _by_clip(video, view, found)) for video, found in probs]


def infer_each(
    videos: Sequence[Video], view: TestView, infer_clips: Callable[[Any], T], *, batch_size: int, mesh: Mesh
) -> Iterator[tuple[Video, T]]:
    """Yields each video, in the given order, with the outputs `(n ...)` of its views; the arguments are as above.

    Raises:
      VideoError: while iterating, a video can no longer be read.
    """
    rows = infer_videos(videos, view, infer_clips, batch_size=batch_size, num_workers=0, mesh=mesh)
    for batch, outputs in rows:
        for found in batch["unread"][batch["unread"].any(axis=1)]:
            raise VideoError(reason_of(found))
        for row in np.flatnonzero(batch["mask"]):
            yield videos[int(batch["position"][row])], jax.tree.map(lambda leaf, row=row: leaf[row], outputs)


def _by_clip(video: Video, view: TestView, probs: np.ndarray) -> list[ClipPrediction]:
    """Returns the predictions by clip from probs `(n k)`: the mean over a clip's crops, with its start and end."""
    by_clip = probs.reshape(view.num_clips, view.num_crops, -1).mean(axis=1)
    return [
        ClipPrediction(float(indices.min() / video.fps), float((indices.max() + 1) / video.fps), clip)
        for indices, clip in zip(view.indices(video), by_clip, strict=True)
    ]
