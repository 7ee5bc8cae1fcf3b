"""One number for a network: many clips of every video, averaged; every video counted exactly once."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from vjax import mesh as meshes
from vjax.data.lost import reason_of
from vjax.data.pipeline import Shard, test_batches
from vjax.data.transforms import TestView
from vjax.data.video import VideoSequence
from vjax.evaluation import metrics
from vjax.evaluation.infer import ClipProbs, infer_views
from vjax.evaluation.probes import Probe


class EvaluationStopped(Exception):
    """An evaluation was asked to stop, and has no result."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a network got right.

    Attributes:
      metrics: `clip@1`, `video@1`, `video@5` (shares in [0, 1]) and `loss` (mean cross-entropy over v).
      label: `(f)`, of every video, in the order of the split.
      probs: `(f k)`, the probabilities of every video.
      lost: position and reason of the videos that could not be read any more; they count, as wrong.
    """

    metrics: dict[str, float]
    label: np.ndarray
    probs: np.ndarray
    lost: tuple[tuple[int, str], ...] = ()

    @property
    def confusion(self) -> np.ndarray:
        """Counts `(k k)`: row is the label, column the prediction."""
        predicted = metrics.predicted_class(self.probs, self.label)
        return metrics.confusion_matrix(self.label, predicted, self.probs.shape[-1])

    @property
    def class_accuracy(self) -> list[float | None]:
        """Share of each class's videos that were recognised; None for a class without videos."""
        counts = self.confusion
        return [float(row[i] / row.sum()) if row.sum() else None for i, row in enumerate(counts)]


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
    """Returns how well the answers for a split fit its labels.

    Args:
      videos: the split.
      view: which clips of a video are looked at.
      infer_clips: global clips `(b t h w c)` to replicated probabilities.
      batch_size: videos at a time, rounded up to a multiple of the devices; one clip of each is on them at once.
      num_workers: processes that read; 0 reads in threads.
      mesh: of the devices.
      probe: what is done to the views of a video before the network sees them (evaluation/probes.py).
      should_stop: asked after every batch.

    Raises:
      EvaluationStopped: it was asked to stop.
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
        real = batch["mask"]
        unread = np.asarray(batch["unread"].any(axis=1))
        outputs = _wrong_where(unread, outputs, batch["label"])
        lost += [(int(batch["position"][i]), reason_of(batch["unread"][i])) for i in np.flatnonzero(unread)]
        sums = batch_sums(outputs, batch["label"], real)
        totals = sums if totals is None else metrics.add(totals, sums)
        if probs is None:
            probs = np.zeros((len(videos), outputs.probs.shape[-1]), np.float32)
        probs[batch["position"][real]] = outputs.probs.mean(axis=1)[real]
        label[batch["position"][real]] = batch["label"][real]
        count += int(real.sum())
        if count < len(videos) and should_stop():
            raise EvaluationStopped
    assert totals is not None
    assert probs is not None
    assert count == len(videos), f"{count} videos were evaluated, not {len(videos)}"
    return Evaluation(metrics.means(totals), label, probs, tuple(lost))


def infer_videos(
    videos: VideoSequence,
    view: TestView,
    infer_clips: Callable[[Any], ClipProbs],
    *,
    batch_size: int,
    num_workers: int,
    mesh: Mesh,
    probe: Probe | None = None,
) -> Iterator[tuple[dict[str, np.ndarray], ClipProbs]]:
    """Yields `label, mask, position (b)` and `unread (b ...)` of each batch, and the outputs `(b n k)` of its views."""
    shard = Shard(meshes.round_up(batch_size, mesh), jax.process_index(), jax.process_count())
    for batch in test_batches(videos, view, shard, num_workers=num_workers):
        clips = batch.pop("clips")
        if probe is not None:
            clips = np.stack([probe(views, int(i)) for views, i in zip(clips, batch["position"], strict=True)])
        outputs = infer_views(lambda view_clips: infer_clips(meshes.put_batch(view_clips, mesh)), clips)
        yield meshes.gather(meshes.put_batch(batch, mesh), mesh), outputs


def batch_sums(outputs: ClipProbs, label: np.ndarray, mask: np.ndarray) -> dict[str, metrics.Sum]:
    """Returns the sums behind the metrics of one batch, for probabilities `(b n k)`, label `(b)` and mask `(b)`."""
    probs, log_probs = np.asarray(outputs.probs), np.asarray(outputs.log_probs)
    clip_label = np.broadcast_to(label[:, None], probs.shape[:2])
    loss = -np.take_along_axis(log_probs, clip_label[..., None], axis=-1)[..., 0]
    video_probs = probs.mean(axis=1)
    return {
        "clip@1": metrics.masked_sum(metrics.top_k_correct(probs, clip_label, k=1), mask[:, None]),
        "video@1": metrics.masked_sum(metrics.top_k_correct(video_probs, label, k=1), mask),
        "video@5": metrics.masked_sum(metrics.top_k_correct(video_probs, label, k=5), mask),
        "loss": metrics.masked_sum(loss, mask[:, None]),
    }


def _wrong_where(unread: np.ndarray, outputs: ClipProbs, label: np.ndarray) -> ClipProbs:
    """Returns probabilities `(b n k)` that know nothing, and do not name the label, in the unread rows `(b)`."""
    if not unread.any():
        return outputs
    probs, log_probs = np.array(outputs.probs), np.array(outputs.log_probs)
    num_classes = probs.shape[-1]
    probs[unread] = 1 / max(num_classes - 1, 1)
    probs[np.flatnonzero(unread), :, label[unread]] = 0
    log_probs[unread] = -np.log(num_classes)
    return outputs._replace(probs=probs, log_probs=log_probs)
