"""The segments of the probabilities of windows."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjax.errors import InputError
from vjax.evaluation.segments import Segment, SegmentFinder
from vjax.evaluation.timeline import Timeline


def finder(*, enter, leave, min_s=0.0):
    return SegmentFinder(enter=enter, leave=leave, min_s=min_s)


def made(*rows):
    """A timeline of windows of 2 s, one each second."""
    start_s = np.arange(len(rows), dtype=float)
    return Timeline("made", start_s, start_s + 2, np.array(rows), "", ("a", "b", "c"))


def test_a_segment_stays_until_its_class_falls_below_leave():
    found = made([0.9, 0.1], [0.4, 0.3], [0.9, 0.1], [0.1, 0.1]).segments(finder(enter=0.6, leave=0.35))
    assert found == [Segment(0.0, 3.5, 0, pytest.approx((0.9 + 0.4 + 0.9) / 3))]


def test_another_class_that_enters_ends_a_segment():
    found = made([0.9, 0.1], [0.4, 0.6], [0.2, 0.8]).segments(finder(enter=0.6, leave=0.3))
    assert [(s.start_s, s.end_s, s.label) for s in found] == [(0.0, 1.5, 0), (1.5, 4.0, 1)]


def test_short_segments_are_left_out():
    rows = [[0.9, 0.1], [0.1, 0.1], [0.9, 0.0], [0.9, 0.0], [0.9, 0.0]]
    found = made(*rows).segments(finder(enter=0.6, leave=0.5, min_s=2))
    assert [(s.start_s, s.end_s) for s in found] == [(2.5, 6.0)]


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=30), st.floats(0.1, 1))
def test_segments_do_not_overlap_and_each_window_of_one_keeps_its_class(rows, enter):
    found = made(*rows).segments(finder(enter=enter, leave=0.7 * enter))
    assert all(before.end_s <= after.start_s for before, after in itertools.pairwise(found))
    for segment in found:
        assert segment.end_s > segment.start_s
        assert segment.score >= 0.7 * enter - 1e-9
    best = max(max(row) for row in rows)
    assert bool(found) == (best >= enter)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"enter": 0.5, "leave": 0.6},
            "segments need 0 < leave <= enter <= 1; got leave 0.6 and enter 0.5",
        ),
        ({"enter": 1.5, "leave": 0.6}, "segments need 0 < leave <= enter <= 1"),
        ({"enter": 0.5, "leave": 0.0}, "segments need 0 < leave <= enter <= 1"),
        ({"enter": 0.5, "leave": 0.5, "min_s": -1}, "must have 0 seconds or more, got -1"),
    ],
)
def test_limits_that_make_no_segments_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        finder(**options)


def test_a_segment_is_told_by_the_first_window_after_it():
    found = finder(enter=0.6, leave=0.5)
    assert found.add(0, 2, np.array([0.9, 0.1])) is None
    assert found.add(1, 3, np.array([0.8, 0.2])) is None
    assert found.add(2, 4, np.array([0.5, 0.4])) is None
    assert found.add(3, 5, np.array([0.3, 0.3])) == Segment(0, 3.5, 0, pytest.approx((0.9 + 0.8 + 0.5) / 3))
    assert found.close() is None


def test_a_segment_ends_where_nothing_was_seen_for_longer_than_a_window():
    found, same = finder(enter=0.6, leave=0.5), np.array([0.9, 0.1])
    assert [found.add(start, start + 4, same) for start in (0, 2)] == [None, None]
    assert found.add(3600, 3604, same) == Segment(0, 6, 0, pytest.approx(0.9))
    assert found.add(3602, 3606, same) is None
    assert found.close() == Segment(3600, 3606, 0, pytest.approx(0.9))


def test_windows_that_leave_out_less_than_their_length_are_bridged():
    found, same = finder(enter=0.6, leave=0.5), np.array([0.9, 0.1])
    assert [found.add(start, start + 4, same) for start in (0, 7, 14)] == [None, None, None]
    assert found.close() == Segment(0, 18, 0, pytest.approx(0.9))


def test_without_a_window_there_is_no_segment():
    assert finder(enter=0.6, leave=0.5).close() is None
