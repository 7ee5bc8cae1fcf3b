"""How far an accuracy can be trusted: its 95 % interval, for videos that may look alike in groups."""

from collections.abc import Sequence

import numpy as np

_DRAWS = 2000
_LEVEL = 0.95


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
    low, high = (float(end) for end in test.proportion_ci(_LEVEL, method="wilson"))
    # Totals and sizes of the groups.
    names = [f"group {group}" if group else f"video {i}" for i, group in enumerate(groups)]
    kinds, group_of = np.unique(names or np.arange(len(correct)), return_inverse=True)
    if len(kinds) in (1, len(correct)):
        return [low, high]
    totals, sizes = np.bincount(group_of, correct), np.bincount(group_of)
    # Accuracies of drawn groups.
    rng, drawn = np.random.default_rng(0), np.empty(_DRAWS)
    for i in range(_DRAWS):
        chosen = rng.integers(len(kinds), size=len(kinds))
        drawn[i] = totals[chosen].sum() / sizes[chosen].sum()
    lower, upper = np.quantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return [min(low, float(lower)), max(high, float(upper))]
