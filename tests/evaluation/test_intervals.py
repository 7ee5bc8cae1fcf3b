"""The interval of an accuracy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjax.evaluation.intervals import accuracy_interval


def width(interval):
    return interval[1] - interval[0]


@given(num_videos=st.integers(1, 500), share=st.floats(0, 1), num_groups=st.integers(1, 20))
def test_an_interval_holds_the_accuracy(num_videos, share, num_groups):
    correct = np.arange(num_videos) < round(share * num_videos)
    for groups in ((), [f"g{i % num_groups}" for i in range(num_videos)]):
        low, high = accuracy_interval(correct, groups)
        assert 0 <= low <= correct.mean() + 1e-9
        assert correct.mean() - 1e-9 <= high <= 1


@given(num_videos=st.integers(1, 500), share=st.floats(0, 1))
def test_more_videos_give_a_narrower_interval(num_videos, share):
    correct = np.arange(num_videos) < round(share * num_videos)
    assert width(accuracy_interval(np.repeat(correct, 4))) < width(accuracy_interval(correct))


def test_groups_of_which_each_is_right_or_wrong_as_a_whole_give_a_wider_interval():
    correct, groups = np.repeat([1, 1, 1, 0, 1, 0, 1, 1, 1, 1], 10), np.repeat(list("abcdefghij"), 10)
    alike, alone = accuracy_interval(correct, list(groups)), accuracy_interval(correct)
    # As wide as for ten videos; a hundred independent ones would say more.
    assert width(alike) == pytest.approx(width(accuracy_interval(correct[::10])), abs=0.1)
    assert width(alike) > 2 * width(alone)


def test_groups_that_are_equally_accurate_do_not_narrow_the_interval():
    correct, groups = np.tile([1, 1, 1, 0], 10), np.repeat(list("abcdefghij"), 4)
    assert accuracy_interval(correct, list(groups)) == accuracy_interval(correct)


def test_videos_without_a_group_stand_for_themselves():
    correct = np.array([1, 0, 1, 1, 0, 1, 1, 1])
    assert accuracy_interval(correct, [""] * 8) == accuracy_interval(correct)
    assert accuracy_interval(correct, ["a"] * 8) == accuracy_interval(correct)


def test_the_interval_is_the_same_each_time():
    correct, groups = np.arange(60) % 7 > 1, [f"g{i // 5}" for i in range(60)]
    assert accuracy_interval(correct, groups) == accuracy_interval(correct, groups)


def test_a_true_accuracy_lies_in_most_intervals_of_samples_with_groups():
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        of_group = rng.beta(4, 1, 12)  # the mean is 0.8
        correct = rng.random((12, 8)) < of_group[:, None]
        low, high = accuracy_interval(correct.ravel(), list(np.repeat([f"g{i}" for i in range(12)], 8)))
        held += low <= 0.8 <= high
    assert held >= 175  # 95 % is 190; a bootstrap of twelve groups holds a little less
