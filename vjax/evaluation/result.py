"""The contents of `result.json`: metrics, how far they can be trusted, and the protocol of their measurement."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from scipy import stats

from vjax.data.transforms import TestView
from vjax.data.video import BadVideo, Source, VideoSequence
from vjax.evaluation import metrics
from vjax.evaluation.evaluate import Evaluation

_WIDE = 0.2  # width of an interval that rarely tells two networks apart


def describe_result(
    evaluation: Evaluation, source: Source, view: TestView, *, checkpoint: str = "newest checkpoint"
) -> dict[str, Any]:
    """Returns the contents of `result.json`.

    These are the metrics, `video@1_interval` (95 %), `chance`, counts of videos, the `protocol` in words, `notes` (a
    sentence for each reason not to trust the numbers), and what `describe_classes` returns.
    """
    bad = sum(video.split == "test" for video in source.bad_videos)
    num_videos, num_classes = len(source.test), len(source.class_names)
    code = f"; split code {source.split_code}" if source.split_code else ""
    validation = f"{len(source.val)} validation videos" if len(source.val) else "no validation split"
    lost = lost_in(evaluation, source, "test")
    also = f", {len(lost)} lost since training began and counted as wrong" if lost else ""
    interval = accuracy_interval(evaluation.metrics["video@1"], num_videos)
    return evaluation.metrics | {
        "video@1_interval": interval,
        "chance": 1 / num_classes,
        "num_videos": num_videos,
        "bad_videos": bad,
        "bad_train_videos": len(source.bad_videos) - bad,
        "lost_videos": len(lost),
        "protocol": (
            f"{view.describe()}; mean of softmax over opinions, clips and crops; test split {source.split}; "
            f"{num_videos} of {num_videos + bad} videos, {bad} unreadable{also}; {validation}{code}; {checkpoint}"
        ),
        "notes": list(_notes(interval, num_videos, num_classes)),
        **describe_classes(evaluation, source.test, source.class_names),
    }


def describe_classes(evaluation: Evaluation, videos: VideoSequence, class_names: Sequence[str]) -> dict[str, Any]:
    """Returns how well each class is recognised, and which videos are not, ready for JSON.

    Args:
      evaluation: evaluation of the videos.
      videos: evaluated videos, for their names.
      class_names: names of the classes.

    Returns:
      `class_names`; `class_accuracy` by class, None for a class without videos; `confusion` `(k k)`, counts whose rows
      are labels and whose columns are predictions; and `wrong`, the wrongly classified videos (`name`, `label`,
      `predicted` and its `probability`), the surest mistakes first.
    """
    label, predicted = evaluation.label, metrics.predicted_class(evaluation.probs, evaluation.label)
    wrong = [
        {
            "name": videos[i].name,
            "label": class_names[int(label[i])],
            "predicted": class_names[int(predicted[i])],
            "probability": float(evaluation.probs[i, predicted[i]]),
        }
        for i in map(int, np.flatnonzero(predicted != label))
    ]
    return {
        "class_names": list(class_names),
        "class_accuracy": dict(zip(class_names, evaluation.class_accuracy, strict=True)),
        "confusion": evaluation.confusion.tolist(),
        "wrong": sorted(wrong, key=lambda video: -video["probability"]),
    }


def accuracy_interval(accuracy: float, num_videos: int) -> list[float]:
    """Returns the lower and upper end of the 95 % interval of an accuracy, measured on independent videos.

    Videos of one group (a subject, a recording) look alike; then the true interval is wider.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    >>> [round(end, 2) for end in accuracy_interval(0.9, 10)]
    [0.6, 0.98]
    """
    test = stats.binomtest(round(accuracy * num_videos), num_videos)
    return [float(end) for end in test.proportion_ci(method="wilson")]


def _notes(interval: list[float], num_videos: int, num_classes: int) -> Iterator[str]:
    if num_classes == 1:
        yield "There is one class, so every network is right about every video."
        return
    low, high = interval
    if high - low > _WIDE:
        yield (
            f"{num_videos} test videos are too few to tell most networks apart: with another {num_videos} videos, "
            f"video@1 could lie anywhere from {low:.3f} to {high:.3f}."
        )
    if low <= 1 / num_classes:
        yield f"The interval holds chance, {1 / num_classes:.3f}: the network may have learned nothing."


def lost_in(evaluation: Evaluation, source: Source, split: Literal["val", "test"]) -> list[BadVideo]:
    """Returns the videos of a split that its evaluation could not read; they count as wrong."""
    videos = getattr(source, split)
    return [BadVideo(videos[position].name, split, reason) for position, reason in evaluation.lost]
