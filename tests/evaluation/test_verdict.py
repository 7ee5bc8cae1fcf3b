"""The verdict of a comparison of networks."""

import numpy as np
import pytest

from vjax.evaluation.intervals import accuracy_interval
from vjax.evaluation.verdict import compare_networks, find_best

LABEL = np.arange(100) % 4


def compare(cost, *, sees_pictures=True, **accuracy):
    """Returns the verdict about networks that are right about the first share of the videos."""
    right = {name: (np.arange(100) < 100 * share).astype(float) for name, share in accuracy.items()}
    rows = [
        {
            "network": name,
            "video@1": float(found.mean()),
            "video@1_interval": accuracy_interval(found),
            "multiply_adds": cost[name],
            "motion": {"verdict": [f"Probes of {name}."]},
        }
        for name, found in right.items()
    ]
    return compare_networks(rows, right, label=LABEL, groups=[""] * 100, sees_pictures=sees_pictures)


def test_a_cheaper_network_within_the_interval_is_named_with_its_cost():
    first, *_ = compare({"late_pool": 20, "slow_fusion": 100}, late_pool=0.93, slow_fusion=0.95)
    assert first == (
        "late_pool (0.930) is within the interval of slow_fusion (0.950, interval 0.888 to 0.978) at a fifth of its "
        "multiply-adds: the difference lies between -0.013 and 0.053."
    )


def test_of_several_cheaper_networks_the_cheapest_is_named():
    first, *_ = compare({"a": 10, "b": 50, "c": 100}, a=0.93, b=0.94, c=0.95)
    assert first.startswith("a (0.930) is within the interval of c ")
    assert "at a tenth of its multiply-adds" in first


def test_a_network_that_is_surely_better_is_said_to_be():
    first, *_ = compare({"late_pool": 20, "slow_fusion": 100}, late_pool=0.6, slow_fusion=0.95)
    assert first == "slow_fusion (0.950, interval 0.888 to 0.978) is better than all others."


def test_a_network_of_a_higher_cost_is_no_reason_to_leave_the_best():
    first, *_ = compare({"late_pool": 20, "slow_fusion": 100}, late_pool=0.95, slow_fusion=0.94)
    assert first == (
        "late_pool (0.950, interval 0.888 to 0.978) is the best; slow_fusion, not cheaper, may be as good."
    )


def test_a_single_frame_that_is_worse_shows_that_the_data_needs_more_than_a_picture():
    cost = {"single_frame": 20, "slow_fusion": 100}
    said = compare(cost, single_frame=0.5, slow_fusion=0.95)
    assert said[1] == "single_frame loses 0.343 to 0.539 of video@1: the data needs several frames."
    assert said[2] == "slow_fusion with changed frames: Probes of slow_fusion."
    said = compare(cost, single_frame=0.95, slow_fusion=0.95)
    assert said[1:] == [
        "single_frame is the best: a picture is enough.",
        "single_frame with changed frames: Probes of single_frame.",
    ]
    said = compare(cost, single_frame=0.94, slow_fusion=0.95)
    assert said[1] == "single_frame is not surely worse (by -0.017 to 0.037): a picture may be enough."


def test_nothing_is_said_about_pictures_where_a_single_frame_sees_motion():
    said = compare({"single_frame": 20, "slow_fusion": 100}, sees_pictures=False, single_frame=0.5, slow_fusion=0.95)
    assert len(said) == 2
    assert said[1] == "slow_fusion with changed frames: Probes of slow_fusion."


def test_a_network_of_about_the_same_cost_is_not_cheaper():
    first, *_ = compare({"late_pool": 99, "slow_fusion": 100}, late_pool=0.93, slow_fusion=0.95)
    assert first.endswith("is the best; late_pool, not cheaper, may be as good.")


def test_nothing_is_said_of_networks_that_have_learned_nothing():
    (said,) = compare({"a": 1, "b": 2}, a=0.25, b=0.3)
    assert said.startswith("No network is surely better than always naming the largest class (0.250): the best is b ")


def test_one_network_alone_is_not_compared():
    assert compare({"slow_fusion": 100}, slow_fusion=0.95) == [
        "slow_fusion with changed frames: Probes of slow_fusion."
    ]


def test_of_equal_networks_the_cheaper_one_is_the_best():
    rows = [{"video@1": 0.9, "multiply_adds": 5}, {"video@1": 0.9, "multiply_adds": 4}]
    assert find_best(rows) == 1


@pytest.mark.parametrize(("cost", "part"), [(50, "half"), (4, "1/25"), (85, "0.85"), (25, "a quarter")])
def test_a_cost_is_said_in_words(cost, part):
    first, *_ = compare({"a": cost, "b": 100}, a=0.94, b=0.95)
    assert f" at {part} of its multiply-adds" in first
