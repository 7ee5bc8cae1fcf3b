"""The answers of several runs, pooled by video."""

import numpy as np

from vjax.evaluation.pooling import pool_videos
from vjax.evaluation.predictions import TestPredictions as Predictions  # pytest would take the class for a test


def test_a_video_that_is_tested_twice_counts_once_by_its_mean():
    first = Predictions(["b", "a"], ["ann", "bob"], np.array([1, 0]), np.eye(2)[[1, 0]])
    second = Predictions(["c", "b"], ["cat", "ann"], np.array([0, 1]), np.eye(2)[[0, 0]])
    pooled = pool_videos([first, second])
    assert (pooled.names, pooled.groups, pooled.label.tolist()) == (["a", "b", "c"], ["bob", "ann", "cat"], [0, 1, 0])
    np.testing.assert_array_equal(pooled.mean([first.right, second.right]), [1, 0.5, 1])


def test_videos_without_names_are_pooled_by_their_position():
    runs = [Predictions([], [""] * 12, np.arange(12) % 2, np.eye(2)[np.full(12, kind)]) for kind in (0, 1)]
    pooled = pool_videos(runs)
    assert len(pooled.names) == 12
    np.testing.assert_array_equal(pooled.mean([run.right for run in runs]), np.full(12, 0.5))
    by_position = dict(zip(map(int, pooled.names), pooled.label, strict=True))
    assert all(label == position % 2 for position, label in by_position.items())
