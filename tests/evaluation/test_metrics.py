import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vjax.evaluation import metrics

VALUES = st.lists(st.tuples(st.floats(-10, 10, width=32), st.booleans()), min_size=2, max_size=12)


@settings(deadline=None, max_examples=30)
@given(rows=VALUES, cut=st.integers(1, 11))
def test_a_mean_does_not_change_with_the_batches_it_was_added_up_from(rows, cut):
    values, mask = (np.array(column) for column in zip(*rows, strict=True))
    cut = min(cut, len(rows) - 1)
    parts = [metrics.masked_sum(values[s], mask[s]) for s in (slice(0, cut), slice(cut, None))]
    found = metrics.means(metrics.add({"x": parts[0]}, {"x": parts[1]}))["x"]
    if mask.any():
        np.testing.assert_allclose(found, values[mask].mean(), rtol=1e-4, atol=1e-4)
    else:
        assert math.isnan(found)


def test_a_masked_row_does_not_count_even_where_it_is_nan():
    total = metrics.masked_sum(np.array([1.0, np.nan]), np.array([True, False]))
    assert metrics.means({"x": total}) == {"x": 1.0}


def test_a_mask_of_videos_weighs_all_their_clips():
    total = metrics.masked_sum(np.ones((2, 3)), np.array([[True], [False]]))
    assert (float(total.total), float(total.weight)) == (3.0, 3.0)


@given(seed=st.integers(0, 2**16))
def test_hits_grow_with_top_and_are_certain_at_the_number_of_classes(seed):
    rng = np.random.default_rng(seed)
    probs, label = rng.random((6, 4)), rng.integers(0, 4, 6)
    by_top = np.array([metrics.hits(probs, label, top=top) for top in (1, 2, 3, 4)])
    assert (np.diff(by_top.astype(int), axis=0) >= 0).all()
    assert by_top[-1].all()
    np.testing.assert_array_equal(by_top[0], probs.argmax(-1) == label)


def test_a_network_that_cannot_tell_classes_apart_hits_nothing():
    assert not metrics.hits(np.full((4, 4), 0.25), np.arange(4), top=1).any()


def test_a_network_whose_answers_are_nan_hits_nothing():
    probs = np.array([[np.nan, 0.5, 0.5], [0.2, np.nan, 0.8], [0.2, np.nan, 0.8], [np.nan] * 3])
    label = np.array([0, 0, 2, 1])
    assert not metrics.hits(probs, label, top=1).any()
    np.testing.assert_array_equal(metrics.hits(probs, label, top=2), [False, False, True, False])


def test_sums_over_very_many_clips_count_every_one():
    """Float32 counts to 2 ** 24."""
    total = {"x": metrics.masked_sum(np.ones(2**14))}
    for _ in range(10):
        total = metrics.add(total, total)  # 2 ** 24
    total = metrics.add(total, {"x": metrics.masked_sum(np.array([1.0]))})
    assert float(total["x"].weight) == float(total["x"].total) == 2**24 + 1


def test_a_confusion_matrix_counts_labels_by_row():
    matrix = metrics.confusion_matrix(np.array([0, 0, 2]), np.array([1, 1, 2]), 3)
    np.testing.assert_array_equal(matrix, [[0, 2, 0], [0, 0, 0], [0, 0, 1]])
