"""Evaluation of a network on a split: many clips per video, averaged; every video counts exactly once."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from vjax import mesh as meshes
from vjax.data.lost import reason_of
from vjax.data.pipeline import Shard, test_batches
from vjax.data.transforms import TestView
from vjax.data.video import VideoSequence, groups_of
from vjax.evaluation import metrics
from vjax.evaluation.infer import ClipProbs, infer_views
from vjax.evaluation.intervals import accuracy_interval
from vjax.evaluation.probes import Probe
from vjax.evaluation.sections import classes_section, confusion_section
from vjax.html.page import render_fragment
from vjax.text import count

T = TypeVar("T")
_TOP = 5


class EvaluationStopped(Exception):
    """An evaluation was asked to stop, so it has no result."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result of a network on a split.

    Attributes:
      metrics: `clip@1`, `video@1` and, with six classes or more, `video@5` (shares in [0, 1]), and `loss` (mean
        cross-entropy over v).
      label: `(num_videos)`, label of every video, in the order of the split.
      probs: `(num_videos k)`, probabilities of every video, in the same order.
      lost: position and reason for each video that can no longer be read; such videos count as wrong.
      groups: group of each video; empty texts, or nothing, if none is known.
      class_names: names of the classes; their indices stand for them if they are not given.
    """

    metrics: dict[str, float]
    label: np.ndarray
    probs: np.ndarray
    lost: tuple[tuple[int, str], ...] = ()
    groups: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        """Returns the evaluation as a part of a page, for notebooks."""
        names = self.class_names or tuple(map(str, range(self.probs.shape[-1])))
        groups = self.groups or ("",) * len(self.label)
        low, high = accuracy_interval(self.correct, groups)
        title = (
            f"{self.correct.mean():.1%} of {count(len(self.label), 'video')} are classified correctly (95 % interval "
            f"{low:.1%} to {high:.1%}; chance {1 / len(names):.1%})"
        )
        sections = [classes_section(self.label, self.correct, groups, names), confusion_section(self.confusion, names)]
        return render_fragment(title=title, sections=sections)

    @property
    def correct(self) -> np.ndarray:
        """Whether each video is classified correctly, `(num_videos)`."""
        return metrics.top_k_correct(self.probs, self.label, k=1)

    @property
    def confusion(self) -> np.ndarray:
        """Counts `(k k)`: rows are labels, columns are predictions."""
        predicted = metrics.predicted_class(self.probs, self.label)
        return metrics.confusion_matrix(self.label, predicted, self.probs.shape[-1])

    @property
    def class_accuracy(self) -> list[float | None]:
        """Share of correctly classified videos for each class; None for a class without videos."""
        counts = self.confusion
        return [float(row[i] / row.sum()) if row.sum() else None for i, row in enumerate(counts)]

    @property
    def mean_class_accuracy(self) -> float:
        """Mean of the accuracies of all classes that have videos: large classes count as much as small ones."""
        return float(np.mean([accuracy for accuracy in self.class_accuracy if accuracy is not None]))


def evaluate(
    videos: VideoSequence,
    view: TestView,
    infer_clips: Callable[[Any], ClipProbs],
    *,
    batch_size: int,
    num_workers: int,
    mesh: Mesh,
    probe: Probe | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Evaluates a network on a split.

    Args:
      videos: videos of the split.
      view: clips and crops that are taken from each video.
      infer_clips: function from global clips `(b t h w c)` to replicated probabilities.
      batch_size: videos per batch, rounded up to a multiple of the devices; one view of each is inferred at a time.
      num_workers: number of processes that read; 0 reads in threads of this process.
      mesh: device mesh.
      probe: function that changes the views of a video before the network sees them (evaluation/probes.py).
      should_stop: function that is called after every batch but the last, and returns whether to stop.

    Raises:
      EvaluationStopped: `should_stop` returned True.
    """
    totals: dict[str, metrics.Sum] | None = None
    label = np.zeros(len(videos), int)
    probs: np.ndarray | None = None
    rows = infer_videos(
        videos,
        view,
        infer_clips,
        batch_size=batch_size,
        num_workers=num_workers,
        mesh=mesh,
        probe=probe,
    )
    count, lost = 0, []
    for batch, outputs in rows:
        # Videos that could not be read count as wrong.
        real = batch["mask"]
        unread = np.asarray(batch["unread"].any(axis=1))
        outputs = _wrong_where(unread, outputs, batch["label"])
        lost += [(int(batch["position"][i]), reason_of(batch["unread"][i])) for i in np.flatnonzero(unread)]
        # Sums for the metrics, and the probabilities of each video at its position in the split.
        sums = batch_sums(outputs, batch["label"], real)
        totals = sums if totals is None else metrics.add(totals, sums)
        if probs is None:
            probs = np.zeros((len(videos), outputs.probs.shape[-1]), np.float32)
        probs[batch["position"][real]] = outputs.probs.mean(axis=1)[real]
        label[batch["position"][real]] = batch["label"][real]
        count += int(real.sum())
        if count < len(videos) and should_stop():
            raise EvaluationStopped
    # The last global batch is padded, but no video may be missing or counted twice.
    assert totals is not None
    assert probs is not None
    assert count == len(videos), f"{count} videos were evaluated, not {len(videos)}"
    return Evaluation(metrics.means(totals), label, probs, tuple(lost), tuple(groups_of(videos)))


def infer_videos(
    videos: VideoSequence,
    view: TestView,
    infer_clips: Callable[[Any], T],
    *,
    batch_size: int,
    num_workers: int,
    mesh: Mesh,
    probe: Probe | None = None,
) -> Iterator[tuple[dict[str, np.ndarray], T]]:
    """Yields each batch, `label, mask, position (b)` and `unread (b ...)`, with the outputs `(b n ...)` of views."""
    shard = Shard(meshes.round_up(batch_size, mesh), jax.process_index(), jax.process_count())
    for batch in test_batches(videos, view, shard, num_workers=num_workers):
        clips = batch.pop("clips")
        if probe is not None:
            clips = np.stack([probe(views, int(i)) for views, i in zip(clips, batch["position"], strict=True)])
        outputs = infer_views(lambda view_clips: infer_clips(meshes.put_batch(view_clips, mesh)), clips)
        yield meshes.gather(meshes.put_batch(batch, mesh), mesh), outputs


def batch_sums(outputs: ClipProbs, label: np.ndarray, mask: np.ndarray) -> dict[str, metrics.Sum]:
    """Returns the sums for the metrics of one batch, from outputs `(b n k)`, label `(b)` and mask `(b)`."""
    probs, log_probs = np.asarray(outputs.probs), np.asarray(outputs.log_probs)
    clip_label = np.broadcast_to(label[:, None], probs.shape[:2])
    loss = -np.take_along_axis(log_probs, clip_label[..., None], axis=-1)[..., 0]
    video_probs = probs.mean(axis=1)
    sums = {
        "clip@1": metrics.masked_sum(metrics.top_k_correct(probs, clip_label, k=1), mask[:, None]),
        "video@1": metrics.masked_sum(metrics.top_k_correct(video_probs, label, k=1), mask),
        "loss": metrics.masked_sum(loss, mask[:, None]),
    }
    # With five classes or fewer, every network is right about the first five.
    if probs.shape[-1] > _TOP:
        sums[f"video@{_TOP}"] = metrics.masked_sum(metrics.top_k_correct(video_probs, label, k=_TOP), mask)
    return sums


def _wrong_where(unread: np.ndarray, outputs: ClipProbs, label: np.ndarray) -> ClipProbs:
    """Returns the outputs `(b n k)` with other values in the unread rows `(b)`.

    Their probabilities are 0 for the label and equal for all other classes; their loss is that of a uniform guess.
    """
    if not unread.any():
        return outputs
    probs, log_probs = np.array(outputs.probs), np.array(outputs.log_probs)
    num_classes = probs.shape[-1]
    probs[unread] = 1 / max(num_classes - 1, 1)
    probs[np.flatnonzero(unread), :, label[unread]] = 0
    log_probs[unread] = -np.log(num_classes)
    return outputs._replace(probs=probs, log_probs=log_probs)
