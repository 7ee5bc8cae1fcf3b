"""Prediction: from videos to ranked class names, with the inference of evaluation and the temperature of the run."""

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
from vjax.evaluation.calibration import Calibration
from vjax.evaluation.evaluate import infer_videos
from vjax.evaluation.infer import ClipProbs
from vjax.html.page import Section, Table, render_fragment
from vjax.text import count

T = TypeVar("T")
_MOST_ROWS = 100
_OTHERS = 2  # classes beside the most probable one


@dataclasses.dataclass(frozen=True)
class ClipPrediction:
    """The probabilities of one clip of a video.

    Attributes:
      start_s: start of the clip's first frame, in seconds from the start of the video.
      end_s: end of its last frame, in seconds; a looped clip ends with its video.
      probs: `(k)`, probabilities of the clip, the mean over its crops, with the temperature of the calibration.
    """

    start_s: float
    end_s: float
    probs: np.ndarray


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The probabilities of a video.

    Attributes:
      name: name of the video.
      probs: `(k)`, probabilities of the video, the mean over its clips, with the temperature of the calibration.
      clips: probabilities of its clips, in order of time.
      class_names: names of the classes.
    """

    name: str
    probs: np.ndarray
    clips: list[ClipPrediction]
    class_names: tuple[str, ...]

    def ranked(self) -> list[tuple[str, float]]:
        """Returns class names with their probabilities, the most probable first."""
        return rank(self.probs, self.class_names)


class Predictions(list[Prediction]):
    """The predictions for several videos: a list, which a notebook shows as a table."""

    def _repr_html_(self) -> str:
        """Returns the predictions as a part of a page."""
        rows = []
        for found in self[:_MOST_ROWS]:
            (best, probability), *others = found.ranked()
            others = ", ".join(f"{name} {other:.2f}" for name, other in others[:_OTHERS])
            rows.append((found.name, best, f"{probability:.2f}", others))
        left = f"; the first {_MOST_ROWS} are shown" if len(self) > _MOST_ROWS else ""
        table = Table("predictions", ["video", "class", "probability", "others"], rows)
        title = f"Predictions for {count(len(self), 'video')}{left}"
        return render_fragment(title=title, sections=[Section("predictions", "", "", [table])])


def rank(probs: np.ndarray, class_names: Sequence[str]) -> list[tuple[str, float]]:
    """Returns class names with their probabilities `(k)`, the most probable first."""
    return [(class_names[int(i)], float(probs[i])) for i in np.argsort(-probs, kind="stable")]


def predict_each(
    videos: Sequence[Video],
    view: TestView,
    infer_clips: Callable[[Any], ClipProbs],
    *,
    batch_size: int,
    mesh: Mesh,
    class_names: Sequence[str],
    calibration: Calibration | None = None,
) -> Iterator[Prediction]:
    """Yields the predictions for videos, in their order, a batch at a time.

    The arguments are those of `evaluate`, the names of the classes, and the calibration of the network; None keeps its
    probabilities.

    Raises:
      VideoError: while iterating, a video can no longer be read.
    """
    adjust = calibration if calibration is not None else np.asarray
    for video, found in infer_each(videos, view, infer_clips, batch_size=batch_size, mesh=mesh):
        probs = np.asarray(found.probs)
        by_clip = _by_clip(video, view, probs, adjust)
        yield Prediction(video.name, adjust(probs.mean(axis=0)), by_clip, tuple(class_names))


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


def _by_clip(
    video: Video, view: TestView, probs: np.ndarray, adjust: Callable[[np.ndarray], np.ndarray]
) -> list[ClipPrediction]:
    """Returns the predictions by clip from probs `(n k)`: the mean over a clip's crops, with its start and end."""
    by_clip = adjust(probs.reshape(view.num_clips, view.num_crops, -1).mean(axis=1))
    return [
        ClipPrediction(float(indices.min() / video.fps), float((indices.max() + 1) / video.fps), clip)
        for indices, clip in zip(view.indices(video), by_clip, strict=True)
    ]
