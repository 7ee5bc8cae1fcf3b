"""Whether a network is as often right as it is sure."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vjax
from vjax.evaluation.calibration import (
    Calibration,
    calibration_error,
    fit_calibration,
    read_calibration,
    reliability,
    write_calibration,
)


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


def honest_videos(num_videos, *, sharpness, seed=0, num_classes=5):
    """Probabilities that are a power of the true ones, and labels that are drawn from the true ones."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.full(num_classes, 0.3), num_videos)
    label = (true.cumsum(axis=1) > rng.random((num_videos, 1))).argmax(axis=1)
    powers = true**sharpness
    return powers / powers.sum(axis=1, keepdims=True), label


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.0, 3.0])
def test_the_temperature_undoes_what_made_a_network_too_sure(sharpness):
    calibration = fit_calibration(*honest_videos(4000, sharpness=sharpness), step=1)
    assert calibration.temperature == pytest.approx(sharpness, rel=0.1)
    probs, label = honest_videos(4000, sharpness=sharpness, seed=1)
    assert calibration_error(reliability(calibration(probs), label)) < 0.03


@pytest.mark.parametrize("num_videos", [0, 1, 3])
def test_few_videos_change_little(num_videos):
    probs, label = two_classes([0.9] * num_videos, [True] * num_videos)
    assert 0.3 < fit_calibration(probs, label, step=1).temperature <= 1.0 + 1e-3


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.floats(0.05, 20.0))
def test_a_temperature_keeps_the_order_of_the_classes(seed, num_classes, temperature):
    probs = np.random.default_rng(seed).dirichlet(np.full(num_classes, 0.5), 6)
    found = Calibration(0, temperature, np.array([]), np.array([], bool))(probs)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    for before, after in zip(probs, found, strict=True):
        order = np.argsort(before, kind="stable")
        assert (np.diff(after[order]) >= 0).all()


def test_a_temperature_of_one_changes_nothing_and_zeros_and_nan_are_allowed():
    same = Calibration(0, 1.0, np.array([]), np.array([], bool))
    np.testing.assert_allclose(same(np.array([[0.0, 0.25, 0.75]])), [[0, 0.25, 0.75]], atol=1e-9)
    assert np.isnan(same(np.array([np.nan, np.nan]))).all()
    found = fit_calibration(np.array([[np.nan, np.nan], [0.0, 1.0], [1.0, 0.0]]), np.array([0, 0, 0]), step=1)
    assert found.right.tolist() == [False, True]


def test_videos_that_are_the_same_for_every_class_are_never_right():
    assert fit_calibration(np.full((4, 2), 0.5), np.zeros(4, int), step=1).right.tolist() == [False] * 4


def measured(sure, right):
    return Calibration(7, 1.0, np.asarray(sure, float), np.asarray(right, bool))


def test_the_threshold_is_the_lowest_probability_with_the_precision():
    # Above 0.8: 9 right of 9, of which 9 of 10 are shown. With the wrong one at 0.7 it would be 9 of 11.
    calibration = measured([0.9] * 5 + [0.8] * 4 + [0.7, 0.6], [True] * 9 + [False, True])
    assert calibration.threshold(0.9) == 0.8
    assert calibration.threshold(0.8) == 0.6  # 10 of 12
    assert calibration.threshold(0.5) == 0.6


def test_videos_of_the_same_probability_are_on_the_same_side_of_the_threshold():
    assert measured([0.9] * 9 + [0.5] * 2, [True] * 9 + [True, False]).threshold(0.83) == 0.5
    with pytest.raises(vjax.InputError):
        measured([0.9] * 11, [True] * 9 + [False] * 2).threshold(0.9)


@pytest.mark.parametrize(("sure", "most"), [([], "0.000"), ([0.9] * 9, "0.900")])
def test_too_few_videos_say_what_they_can_show(sure, most):
    message = (
        f"the {len(sure)} validation videos show a precision of at most {most}, not 0.95; ask for a lower precision, "
        "or train with more validation videos"
    )
    with pytest.raises(vjax.InputError, match=re.escape(message)):
        measured(sure, [True] * len(sure)).threshold(0.95)


@pytest.mark.parametrize("precision", [0.0, 1.0, float("nan")])
def test_a_precision_is_a_share(precision):
    with pytest.raises(vjax.InputError, match=r"a precision must lie in \(0, 1\), got"):
        measured([0.9], [True]).threshold(precision)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.8, 0.9, 1.0]), st.booleans()), min_size=1, max_size=40),
    st.floats(0.3, 0.9),
)
def test_answers_at_or_above_the_threshold_have_the_precision(pairs, precision):
    calibration = measured(*zip(*pairs, strict=True))
    try:
        threshold = calibration.threshold(precision)
    except vjax.InputError:
        return
    assert calibration.right[calibration.sure >= threshold].mean() >= precision


def test_a_calibration_belongs_to_one_checkpoint(tmp_path):
    calibration = fit_calibration(*honest_videos(20, sharpness=2.0), step=30)
    write_calibration(tmp_path, calibration)
    found = read_calibration(tmp_path, step=30)
    assert found is not None
    assert found.temperature == calibration.temperature
    np.testing.assert_array_equal(found.sure, calibration.sure)
    np.testing.assert_array_equal(found.right, calibration.right)
    assert read_calibration(tmp_path, step=20) is None
    assert read_calibration(tmp_path / "other", step=30) is None
