"""The contents of `result.json`: metrics, how far they can be trusted, and the protocol of their measurement."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from vjax.data.transforms import TestView
from vjax.data.video import BadVideo, Source, VideoSequence, groups_of
from vjax.evaluation import metrics
from vjax.evaluation.calibration import Calibration, calibration_error, reliability
from vjax.evaluation.evaluate import Evaluation
from vjax.evaluation.intervals import accuracy_interval

_WIDE = 0.2  # width of an interval that rarely tells two networks apart
_UNEVEN = 0.2  # by which the share of the largest class exceeds chance before it is said


def describe_result(
    evaluation: Evaluation,
    source: Source,
    view: TestView,
    *,
    checkpoint: str = "newest checkpoint",
    calibration: Calibration | None = None,
) -> dict[str, Any]:
    """Returns the contents of `result.json`.

    A calibration adds the `temperature` that was fitted on the validation split, and the `calibrated_error` with it.
    The other contents are the metrics, `video@1_interval` (95 %), `mean_class` (the mean of the classes' accuracies),
    `calibration_error` and `reliability` (evaluation/calibration.py), `chance`, counts of videos, the number of groups
    in the test split, the `protocol` in words, `notes` (a sentence for each reason not to trust the numbers), and what
    `describe_classes` returns.
    """
    bad = Counter(video.split for video in source.bad_videos)
    num_videos, num_classes = len(source.test), len(source.class_names)
    split_code = source.split_code
    code = f"; split code {split_code}" if split_code else ""
    validation = _describe_validation(source)
    lost = lost_in(evaluation, source, "test")
    also = f", {len(lost)} lost since training began and counted as wrong" if lost else ""
    groups = groups_of(source.test)
    probs, label = answered(evaluation)
    bins = reliability(probs, label)
    calibrated = {}
    if calibration is not None:
        calibrated["temperature"] = calibration.temperature
        calibrated["calibrated_error"] = calibration_error(reliability(calibration(probs), label))
    interval = accuracy_interval(evaluation.correct, groups)
    return evaluation.metrics | {
        "video@1_interval": interval,
        "mean_class": evaluation.mean_class_accuracy,
        "calibration_error": calibration_error(bins),
        **calibrated,
        "chance": 1 / num_classes,
        "num_videos": num_videos,
        "num_groups": len(set(groups) - {""}),
        "bad_videos": bad["test"],
        "bad_train_videos": bad["train"],
        "bad_val_videos": bad["val"],
        "lost_videos": len(lost),
        "protocol": (
            f"{view.describe()}; mean of softmax over opinions, clips and crops; test split {source.split}; "
            f"{num_videos} of {num_videos + bad['test']} videos, {bad['test']} unreadable{also}; {validation}{code}; "
            f"{checkpoint}"
        ),
        "notes": list(_notes(interval, evaluation.label, source.class_names, groups)),
        "reliability": bins,
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


def _describe_validation(source: Source) -> str:
    if not len(source.val):
        return "no validation split"
    if not isinstance(source.val, list):
        return f"{len(source.val)} validation videos"
    found, all_classes = len({video.label for video in source.val}), len(source.class_names)
    of_classes = f" of {found} of the {all_classes} classes" if found < all_classes else ""
    return f"{len(source.val)} validation videos{of_classes}"


def answered(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Returns probabilities and labels of the videos that the network saw: of lost ones, it is not sure of anything."""
    seen = np.ones(len(evaluation.label), bool)
    seen[[position for position, _ in evaluation.lost]] = False
    return evaluation.probs[seen], evaluation.label[seen]


def _notes(
    interval: list[float], label: np.ndarray, class_names: Sequence[str], groups: Sequence[str]
) -> Iterator[str]:
    num_videos, num_classes = len(label), len(class_names)
    if num_classes == 1:
        yield "There is one class, so every network is right about every video."
        return
    low, high = interval
    if high - low > _WIDE:
        yield (
            f"{num_videos} test videos are too few to tell most networks apart: on many such videos, video@1 could be "
            f"anything from {low:.3f} to {high:.3f}."
        )
    if len(set(groups)) == 1 and groups[0]:
        yield (
            f"All test videos are of one group, {groups[0]}: the interval says nothing about other groups. "
            "`vjax crossval --folds group` tests on every group."
        )
    if low <= 1 / num_classes:
        yield f"The interval holds chance, {1 / num_classes:.3f}: the network may have learned nothing."
    counts = np.bincount(label, minlength=num_classes)
    largest, name = counts.max() / num_videos, class_names[int(counts.argmax())]
    if largest > _UNEVEN + 1 / num_classes:
        yield f"A network that always says {name} has a video@1 of {largest:.3f}: look at the accuracy of each class."


def lost_in(evaluation: Evaluation, source: Source, split: Literal["val", "test"]) -> list[BadVideo]:
    """Returns the videos of a split that its evaluation could not read; they count as wrong."""
    videos = getattr(source, split)
    return [BadVideo(videos[position].name, split, reason) for position, reason in evaluation.lost]
