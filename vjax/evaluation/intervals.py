"""How far accuracies and their differences can be trusted: 95 % intervals, for videos that may look alike in groups."""

from collections.abc import Sequence

import numpy as np

_DRAWS = 2000
_LEVEL = 0.95
_NUMBERS_AT_ONCE = 2**20
_SIGMAS = 1.96  # of a normal distribution, on each side of its mean, hold 95 %


def accuracy_interval(correct: np.ndarray, groups: Sequence[str] = ()) -> list[float]:
    """Returns the lower and upper end of the 95 % interval of an accuracy.

    Videos of one group (a subject, a recording) look alike, so they say less than as many independent videos. The
    accuracy is computed again and again on groups that are drawn with replacement, and the interval has the middle 95 %
    of the results. It is widened to Wilson's interval for independent videos where that is wider: groups that are all
    equally accurate would give an interval of no width. Without groups, or with a single one, it is Wilson's.

    Args:
      correct: `(num_videos)`, whether each video is right, or its share of right answers.
      groups: name of each video's group; a video with an empty name is a group by itself.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference"; Field and Welsh 2007,
    "Bootstrapping clustered data".

    >>> right = np.array([True] * 9 + [False])
    >>> [round(end, 2) for end in accuracy_interval(right)]
    [0.6, 0.98]
    """
    from scipy import stats  # imported here, because all commands that do not evaluate start a second faster without it

    correct = np.asarray(correct, float)
    test = stats.binomtest(round(correct.sum()), len(correct))
    low, high = test.proportion_ci(_LEVEL, method="wilson")
    return _widened(low, high, correct, groups)


def drop_interval(before: np.ndarray, after: np.ndarray, groups: Sequence[str] = ()) -> list[float]:
    """Returns the lower and upper end of the 95 % interval of a drop in accuracy on the same videos.

    Groups count as in `accuracy_interval`. The interval for independent videos is that of Agresti and Min, which has a
    width where no answer changes.

    Args:
      before: `(num_videos)`, whether each video is right, or its share of right answers.
      after: the same after the change.
      groups: name of each video's group; a video with an empty name is a group by itself.

    Source: Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions".

    >>> [round(end, 2) for end in drop_interval(np.ones(9), np.zeros(9))]
    [0.53, 1.0]
    >>> [round(end, 2) for end in drop_interval(np.ones(9), np.ones(9))]
    [-0.18, 0.18]
    """
    drop = np.asarray(before, float) - np.asarray(after, float)
    lost, won = np.maximum(drop, 0).sum(), np.maximum(-drop, 0).sum()
    # Half a video is added to each of the four kinds: right or wrong, before and after.
    num_videos = len(drop) + 2
    middle = (lost - won) / num_videos
    error = np.sqrt(lost + won + 1 - (lost - won) ** 2 / num_videos) / num_videos
    low, high = max(middle - _SIGMAS * error, -1.0), min(middle + _SIGMAS * error, 1.0)
    return _widened(low, high, drop, groups)


def _widened(low: float, high: float, values: np.ndarray, groups: Sequence[str]) -> list[float]:
    """Returns the interval of a mean, widened to that of means over groups that are drawn with replacement."""
    # Totals and sizes of the groups.
    names = [f"group {group}" if group else f"video {i}" for i, group in enumerate(groups)]
    kinds, group_of = np.unique(names or np.arange(len(values)), return_inverse=True)
    if len(kinds) in (1, len(values)):
        return [float(low), float(high)]
    totals, sizes = np.bincount(group_of, values), np.bincount(group_of)
    # Means over drawn groups; a part of the draws at a time, so that many groups take little memory.
    rng, means, left = np.random.default_rng(0), [], _DRAWS
    while left:
        part = min(left, max(1, _NUMBERS_AT_ONCE // len(kinds)))
        chosen = rng.integers(len(kinds), size=(part, len(kinds)))
        means.append(totals[chosen].sum(1) / sizes[chosen].sum(1))
        left -= part
    lower, upper = np.quantile(np.concatenate(means), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return [float(min(low, lower)), float(max(high, upper))]
