import math

import jax.numpy as jnp
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
def test_what_is_right_grows_with_k_and_is_certain_at_the_number_of_classes(seed):
    rng = np.random.default_rng(seed)
    probs, label = rng.random((6, 4)), rng.integers(0, 4, 6)
    by_top = np.array([metrics.top_k_correct(probs, label, k=k) for k in (1, 2, 3, 4)])
    assert (np.diff(by_top.astype(int), axis=0) >= 0).all()
    assert by_top[-1].all()
    np.testing.assert_array_equal(by_top[0], probs.argmax(-1) == label)


def test_a_network_that_cannot_tell_classes_apart_is_right_about_nothing():
    assert not metrics.top_k_correct(np.full((4, 4), 0.25), np.arange(4), k=1).any()


def test_a_network_whose_answers_are_nan_is_right_about_nothing():
    probs = np.array([[np.nan, 0.5, 0.5], [0.2, np.nan, 0.8], [0.2, np.nan, 0.8], [np.nan] * 3])
    label = np.array([0, 0, 2, 1])
    assert not metrics.top_k_correct(probs, label, k=1).any()
    np.testing.assert_array_equal(metrics.top_k_correct(probs, label, k=2), [False, False, True, False])


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


@given(seed=st.integers(0, 99), num_classes=st.integers(2, 5), levels=st.integers(1, 3))
@settings(deadline=None)
def test_the_confusion_matrix_the_metric_and_the_step_have_one_rule(seed, num_classes, levels):
    """Few levels make ties, and one row is NaN."""
    rng = np.random.default_rng(seed)
    probs = rng.integers(0, levels, (12, num_classes)).astype(np.float32)
    probs[3] = np.nan
    label = rng.integers(0, num_classes, 12)
    right = metrics.top_k_correct(probs, label, k=1)
    matrix = metrics.confusion_matrix(label, metrics.predicted_class(probs, label), num_classes)
    assert np.trace(matrix) == right.sum()
    assert matrix.sum() == 12
    assert not right[3]
    np.testing.assert_array_equal(metrics.top_k_correct(jnp.asarray(probs), jnp.asarray(label), k=1), right)


def test_a_network_that_says_the_same_of_every_class_has_an_empty_diagonal():
    label = np.arange(3)
    predicted = metrics.predicted_class(np.full((3, 3), 1 / 3), label)
    assert np.trace(metrics.confusion_matrix(label, predicted, 3)) == 0
