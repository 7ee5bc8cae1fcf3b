"""The contents of `result.json`: metrics, and the protocol that they were measured with."""

from typing import Any

from vjax.data.transforms import TestView
from vjax.data.video import BadVideo, Source
from vjax.evaluation.evaluate import Evaluation


def describe_result(
    evaluation: Evaluation, source: Source, view: TestView, *, checkpoint: str = "newest checkpoint"
) -> dict[str, Any]:
    """Returns the contents of `result.json`: metrics, counts of videos, and the protocol in words."""
    bad = sum(video.split == "test" for video in source.bad_videos)
    num_videos = len(source.test)
    lost = lost_in_test(evaluation, source)
    also = f", {len(lost)} lost since training began and counted as wrong" if lost else ""
    return evaluation.metrics | {
        "num_videos": num_videos,
        "bad_videos": bad,
        "bad_train_videos": len(source.bad_videos) - bad,
        "lost_videos": len(lost),
        "protocol": (
            f"{view.describe()}; mean of softmax over opinions, clips and crops; test split {source.split}; "
            f"{num_videos} of {num_videos + bad} videos, {bad} unreadable{also}; {checkpoint}"
        ),
    }


def lost_in_test(evaluation: Evaluation, source: Source) -> list[BadVideo]:
    """Returns the test videos that an evaluation could not read; they count as wrong."""
    return [BadVideo(source.test[position].name, "test", reason) for position, reason in evaluation.lost]
