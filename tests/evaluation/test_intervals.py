"""The interval of an accuracy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vjax.evaluation.intervals import accuracy_interval, drop_interval


def width(interval):
    return interval[1] - interval[0]


@settings(deadline=None)  # the first example imports SciPy
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


@given(pairs=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200), num_groups=st.integers(1, 20))
def test_the_interval_of_a_drop_holds_the_drop_and_changes_sides_with_it(pairs, num_groups):
    before, after = np.array(pairs, float).T
    for groups in ((), [f"g{i % num_groups}" for i in range(len(pairs))]):
        low, high = drop_interval(before, after, groups)
        assert -1 <= low <= (before - after).mean() + 1e-9
        assert (before - after).mean() - 1e-9 <= high <= 1
        np.testing.assert_allclose(drop_interval(after, before, groups), [-high, -low], atol=0.1 if groups else 1e-9)


def test_the_interval_of_a_drop_is_that_of_its_source():
    # 86 pairs, of which 16 change one way and 6 the other, by the formula of Agresti and Min worked out by hand.
    before = np.array([1] * 16 + [0] * 6 + [1] * 64)
    after = np.array([0] * 16 + [1] * 6 + [1] * 64)
    middle, error = 10 / 88, (23 - 100 / 88) ** 0.5 / 88
    assert drop_interval(before, after) == pytest.approx([middle - 1.96 * error, middle + 1.96 * error], rel=1e-3)


def test_groups_that_drop_as_a_whole_give_a_wider_interval_of_the_drop():
    before, after = np.ones(60), np.repeat([1, 1, 1, 0, 0, 1], 10)
    groups = list(np.repeat(list("abcdef"), 10))
    assert width(drop_interval(before, after, groups)) > 1.5 * width(drop_interval(before, after))
