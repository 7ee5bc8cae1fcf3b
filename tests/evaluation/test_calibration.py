"""Whether a network is as often right as it is sure."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjax.evaluation.calibration import calibration_error, reliability


def two_classes(sure, right):
    """Probabilities of videos of class 0 whose predicted class is right or wrong, and has this probability."""
    sure, right = np.asarray(sure, float), np.asarray(right, bool)
    of_label = np.where(right, sure, 1 - sure)
    return np.stack([of_label, 1 - of_label], axis=1), np.zeros(len(sure), int)


def test_a_network_that_is_as_often_right_as_it_is_sure_has_no_error():
    assert calibration_error(reliability(*two_classes([0.8] * 10, [True] * 8 + [False] * 2))) == pytest.approx(0)


def test_a_network_that_is_too_sure_has_the_distance_as_its_error():
    assert calibration_error(reliability(*two_classes([0.95] * 10, [True] * 6 + [False] * 4))) == pytest.approx(0.35)
    # Two bins: one is 0.1 too sure, the other is 0.3 not sure enough, and has three times as many videos.
    sure, right = [0.6] * 10 + [0.7] * 30, [True] * 5 + [False] * 5 + [True] * 30
    assert calibration_error(reliability(*two_classes(sure, right))) == pytest.approx((10 * 0.1 + 30 * 0.3) / 40)


@given(st.lists(st.tuples(st.floats(0.51, 1.0), st.booleans()), min_size=1, max_size=60))
def test_every_video_is_in_one_bin_which_holds_its_probability(pairs):
    probs, label = two_classes(*zip(*pairs, strict=True))
    rows = reliability(probs, label)
    assert sum(row["num_videos"] for row in rows) == len(pairs)
    for row in rows:
        assert row["above"] - 1e-9 <= row["probability"] <= row["up_to"] + 1e-9
        assert row["num_videos"] > 0
    assert 0 <= calibration_error(rows) <= 1
    accuracy = sum(row["accuracy"] * row["num_videos"] for row in rows) / len(pairs)
    assert accuracy == pytest.approx(np.mean([right for _, right in pairs]))


def test_ties_and_nan_are_wrong_as_in_all_accuracies():
    rows = reliability(np.array([[0.5, 0.5], [np.nan, np.nan]]), np.array([0, 0]))
    assert [(row["above"], row["probability"], row["accuracy"]) for row in rows] == [(0.0, 0.0, 0.0), (0.4, 0.5, 0.0)]


def test_the_ends_of_a_bin_belong_to_the_lower_one():
    rows = reliability(*two_classes([0.6, 0.61], [True, True]))
    assert [(row["above"], row["num_videos"]) for row in rows] == [(0.5, 1), (0.6, 1)]
