"""What the accuracies on probes say about a network."""

import re

import numpy as np
import pytest

from vjax.evaluation.motion import describe_probes
from vjax.evaluation.probes import PROBES

NAMES = ("run", "walk", "wave")


def describe(num_videos=90, *, normal=1.0, groups=None, **wrong):
    """Returns what is said if the named probes make the classes with these numbers wrong."""
    right = np.arange(num_videos) < normal * num_videos
    label = np.arange(num_videos) % 3
    probed = {name: right & ~np.isin(label, wrong.get(name, [])) for name in PROBES}
    groups = groups or [""] * num_videos
    return describe_probes(right, probed, label=label, groups=groups, class_names=NAMES)


def test_the_drop_is_that_of_the_accuracy_and_lies_in_its_interval():
    found = describe(shuffled=[0, 1], frozen=[0])
    assert found["probes"]["shuffled"]["video@1"] == pytest.approx(1 / 3)
    assert found["probes"]["shuffled"]["drop"] == pytest.approx(2 / 3)
    for probe in found["probes"].values():
        low, high = probe["drop_interval"]
        assert low <= probe["drop"] <= high
    assert found["classes"]["run"] == {
        "num_videos": 30, "normal": 1.0, "shuffled": 0.0, "reversed": 1.0, "frozen": 0.0, "thinned": 1.0,
        "needs": "order",
    }  # fmt: skip


def test_each_class_is_told_from_the_others():
    found = describe(shuffled=[0], frozen=[0, 1])
    assert [found["classes"][name]["needs"] for name in NAMES] == ["order", "frames", "a picture"]
    low, high = found["probes"]["shuffled"]["drop_interval"]
    assert found["verdict"] == [
        "This network needs the order of the frames.",
        f"It loses {low:.3f} to {high:.3f} of video@1 in random order.",
        "It loses {:.3f} to {:.3f} of video@1 on one frame.".format(*found["probes"]["frozen"]["drop_interval"]),
        "Half of the frame rate is enough: with each second frame it loses at most 0.021.",
        "Classes that need the order of the frames: run.",
        "Classes that need several frames: walk.",
        "Classes that need a picture alone: wave.",
    ]


def test_a_network_that_no_probe_changes_needs_only_a_picture():
    assert describe()["verdict"][0] == (
        "A picture is enough for this network: it is as accurate on one frame of each clip."
    )


def test_the_direction_of_time_is_order():
    found = describe(reversed=[2], thinned=[0, 1, 2])
    assert [found["classes"][name]["needs"] for name in NAMES] == ["a picture", "a picture", "order"]
    assert found["verdict"][0] == "This network needs the order of the frames."
    assert re.fullmatch(r"It loses 0\.2\d+ to 0\.4\d+ of video@1 backwards\.", found["verdict"][1])
    assert not any("Half of the frame rate" in line for line in found["verdict"])


def test_it_is_said_whether_the_order_of_several_frames_matters_or_is_not_known():
    assert describe(frozen=[0, 1, 2])["verdict"][2] == "Their order does not matter."
    few = describe(12, frozen=[0, 1, 2])
    assert few["verdict"][0].startswith("This network needs several frames")
    assert few["verdict"][2] == "Whether their order matters is not known."


def test_few_videos_do_not_tell_what_a_network_needs():
    found = describe(6)
    assert found["verdict"][0].startswith("These videos are too few to tell")
    assert {of["needs"] for of in found["classes"].values()} == {"not known"}


def test_nothing_is_said_about_a_class_that_is_not_recognised():
    label = np.arange(90) % 3
    found = label != 2
    said = describe_probes(found, dict.fromkeys(PROBES, found), label=label, groups=[""] * 90, class_names=NAMES)
    assert [said["classes"][name]["needs"] for name in NAMES] == ["a picture", "a picture", "not known"]


def test_nothing_is_said_about_a_class_of_one_group():
    found = describe(shuffled=[0], groups=["ann" if i % 3 == 0 else f"g{i // 9}" for i in range(90)])
    assert [found["classes"][name]["needs"] for name in NAMES] == ["not known", "a picture", "a picture"]


def test_a_drop_in_one_group_alone_is_not_held_for_that_of_all():
    groups = ["ann" if i < 9 else f"g{i // 9}" for i in range(27)]
    right = np.ones(27, bool)
    probed = dict.fromkeys(PROBES, right & (np.arange(27) >= 9))
    label = np.arange(27) % 3
    alone, grouped = (
        describe_probes(right, probed, label=label, groups=of, class_names=NAMES)["probes"]["frozen"]["drop_interval"]
        for of in ([""] * 27, groups)
    )
    assert alone[0] > 0 >= grouped[0]


@pytest.mark.parametrize("share", [1 / 3, 0.9])
def test_a_network_that_names_one_class_gets_no_verdict(share):
    label = np.where(np.arange(90) < share * 90, 0, 1 + np.arange(90) % 2)
    found = label == 0
    said = describe_probes(found, dict.fromkeys(PROBES, found), label=label, groups=[""] * 90, class_names=NAMES)
    assert said["verdict"] == [
        "On unchanged videos, the network may be no better than one that always names the largest class, so the probes "
        "say nothing: train longer, or on more videos."
    ]
    assert {of["needs"] for of in said["classes"].values()} == {"not known"}


def test_a_class_without_test_videos_is_left_out():
    label = np.arange(60) % 2
    found = np.ones(60)
    said = describe_probes(found, dict.fromkeys(PROBES, found), label=label, groups=[""] * 60, class_names=NAMES)
    assert list(said["classes"]) == ["run", "walk"]
