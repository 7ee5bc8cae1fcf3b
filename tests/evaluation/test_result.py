import numpy as np
import pytest

from vjax.data.transforms import TestView
from vjax.data.video import Source, Video
from vjax.evaluation.evaluate import Evaluation
from vjax.evaluation.result import describe_classes, describe_result
from vjax.ops.sampling import ClipTiming


def describe(accuracy, *, num_videos, num_classes, groups=()):
    groups = groups or [""] * num_videos
    videos = [Video(str(i), i % num_classes, 4, 10.0, lambda i: i, group) for i, group in enumerate(groups)]
    source = Source(tuple(map(str, range(num_classes))), videos, videos, split="given")
    metrics = {"clip@1": accuracy, "video@1": accuracy, "loss": 1.0}
    label = np.arange(num_videos) % num_classes
    # The first videos are right, the others give every class the same probability.
    right = np.arange(num_videos) < round(accuracy * num_videos)
    evaluation = Evaluation(metrics, label, np.eye(num_classes)[label] * right[:, None])
    return describe_result(evaluation, source, TestView(ClipTiming(2, stride=1), (8, 8)))


def test_few_videos_are_said_to_tell_little():
    few, many = (describe(0.9, num_videos=number, num_classes=10)["notes"] for number in (10, 1000))
    assert few == [
        "10 test videos are too few to tell most networks apart: on many such videos, video@1 could be anything from "
        "0.596 to 0.982."
    ]
    assert many == []


def test_videos_of_one_group_are_said_to_tell_nothing_about_others():
    found = describe(0.9, num_videos=500, num_classes=10, groups=["daria"] * 500)
    assert found["num_groups"] == 1
    assert found["notes"] == [
        "All test videos are of one group, daria: the interval says nothing about other groups. `vjax crossval --folds "
        "group` tests on every group."
    ]


def test_groups_widen_the_interval_of_a_result():
    groups = [f"g{i // 100}" for i in range(500)]
    alone, grouped = (describe(0.6, num_videos=500, num_classes=10, groups=g) for g in ((), groups))
    assert (alone["num_groups"], grouped["num_groups"]) == (0, 5)
    assert np.ptp(grouped["video@1_interval"]) > 2 * np.ptp(alone["video@1_interval"])


def test_an_accuracy_that_may_be_chance_is_called_so():
    found = describe(0.12, num_videos=200, num_classes=8)
    assert found["chance"] == 0.125
    assert found["notes"] == ["The interval holds chance, 0.125: the network may have learned nothing."]


def test_a_class_that_most_test_videos_are_of_is_named():
    label = np.array([0] * 80 + [1] * 20)
    videos = [Video(str(i), int(label[i]), 4, 10.0, lambda indices: indices) for i in range(100)]
    source = Source(("run", "walk"), videos, videos, split="given")
    evaluation = Evaluation({"clip@1": 1.0, "video@1": 1.0, "loss": 1.0}, label, np.eye(2)[label])
    assert describe_result(evaluation, source, TestView(ClipTiming(2, stride=1), (8, 8)))["notes"] == [
        "A network that always says run has a video@1 of 0.800: look at the accuracy of each class."
    ]


@pytest.mark.parametrize("num_videos", [1, 500])
def test_one_class_is_said_to_be_no_test(num_videos):
    assert describe(1.0, num_videos=num_videos, num_classes=1)["notes"] == [
        "There is one class, so every network is right about every video."
    ]


def test_the_surest_mistakes_come_first_and_a_class_without_videos_has_no_accuracy():
    probs = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.2, 0.8, 0], [0.3, 0.7, 0]], np.float32)
    videos = [Video(name, 0, 4, 10.0, lambda indices: indices) for name in "abcd"]
    found = describe_classes(Evaluation({}, np.array([1, 1, 1, 0]), probs), videos, ("run", "walk", "wave"))
    assert found["class_names"] == ["run", "walk", "wave"]
    assert found["class_accuracy"] == {"run": 0, "walk": pytest.approx(1 / 3), "wave": None}
    assert found["confusion"] == [[0, 1, 0], [2, 1, 0], [0, 0, 0]]
    assert [(video["name"], video["predicted"], video["label"]) for video in found["wrong"]] == [
        ("a", "run", "walk"), ("d", "walk", "run"), ("b", "run", "walk")
    ]  # fmt: skip
    assert [video["probability"] for video in found["wrong"]] == pytest.approx([0.9, 0.7, 0.6])
