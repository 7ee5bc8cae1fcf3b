"""How far accuracies and their differences can be trusted: 95 % intervals, for videos that may look alike in groups."""

from collections.abc import Sequence

import numpy as np

_LEVEL = 0.95


def accuracy_interval(correct: np.ndarray, groups: Sequence[str] = ()) -> list[float]:
    """Returns the lower and upper end of the 95 % interval of an accuracy.

    Videos of one group (a subject, a recording) look alike, so they say less than as many independent videos. The
    interval then rests on the differences between the groups, and few groups make it wide. It is widened to Wilson's
    interval for independent videos where that is wider: groups that are all equally accurate would give an interval of
    no width. Without groups, or with a single one, it is Wilson's.

    Args:
      correct: `(num_videos)`, whether each video is right, or its share of right answers.
      groups: name of each video's group; a video with an empty name is a group by itself.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference"; Cochran 1977, "Sampling
    techniques" (the variance of a ratio over clusters).

    >>> right = np.array([True] * 9 + [False])
    >>> [round(end, 2) for end in accuracy_interval(right)]
    [0.6, 0.98]
    """
    from scipy import stats  # imported here, because all commands that do not evaluate start a second faster without it

    correct = np.asarray(correct, float)
    test = stats.binomtest(round(correct.sum()), len(correct))
    low, high = test.proportion_ci(_LEVEL, method="wilson")
    return _widened(low, high, correct, groups, bounds=(0.0, 1.0))


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
    from scipy import stats

    drop = np.asarray(before, float) - np.asarray(after, float)
    lost, won = np.maximum(drop, 0).sum(), np.maximum(-drop, 0).sum()
    # Half a video is added to each of the four kinds: right or wrong, before and after.
    num_videos = len(drop) + 2
    middle = (lost - won) / num_videos
    error = np.sqrt(lost + won + 1 - (lost - won) ** 2 / num_videos) / num_videos
    far = stats.norm.ppf((1 + _LEVEL) / 2) * error
    return _widened(max(middle - far, -1.0), min(middle + far, 1.0), drop, groups, bounds=(-1.0, 1.0))


def _widened(
    low: float, high: float, values: np.ndarray, groups: Sequence[str], *, bounds: tuple[float, float]
) -> list[float]:
    """Returns the interval of a mean, widened to the one that the differences between groups give, within bounds."""
    from scipy import stats

    # Totals and sizes of the groups.
    names = [f"group {group}" if group else f"video {i}" for i, group in enumerate(groups)]
    kinds, group_of = np.unique(names or np.arange(len(values)), return_inverse=True)
    count = len(kinds)
    if count in (1, len(values)):
        return [float(low), float(high)]
    totals, sizes = np.bincount(group_of, values), np.bincount(group_of)
    # The standard error of their ratio; Student's distribution, because it is estimated from few groups.
    mean = totals.sum() / sizes.sum()
    error = np.sqrt(count / (count - 1) * ((totals - mean * sizes) ** 2).sum()) / sizes.sum()
    far = stats.t.ppf((1 + _LEVEL) / 2, count - 1) * error
    lower, upper = bounds
    return [float(min(low, max(mean - far, lower))), float(max(high, min(mean + far, upper)))]
