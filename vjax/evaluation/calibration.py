"""Whether a network is as often right as it is sure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vjax.evaluation import metrics

_BINS = 10


def calibration_error(rows: Sequence[Mapping[str, Any]]) -> float:
    """Returns the expected calibration error: the mean distance between how sure and how often right a network is.

    The videos are put into ten bins by the probability of their predicted class. Each bin counts by its number of
    videos. The error of few videos is too large: even of a network that is as often right as it is sure, each bin has
    another accuracy by chance.

    Args:
      rows: what `reliability` returns.

    Source: Guo et al. 2017, "On calibration of modern neural networks"; with ten bins instead of 15.

    >>> calibration_error(reliability(np.array([[0.75, 0.25]] * 4), np.array([0, 0, 0, 1])))
    0.0
    """
    total = sum(row["num_videos"] * abs(row["accuracy"] - row["probability"]) for row in rows)
    return float(total / max(sum(row["num_videos"] for row in rows), 1))


def reliability(probs: np.ndarray, label: np.ndarray) -> list[dict[str, Any]]:
    """Returns a row for each bin of probability that has videos, ready for JSON.

    A row has the ends of the bin, `above` and `up_to`; `num_videos`; the mean `probability` of the predicted classes;
    and the `accuracy`.

    Args:
      probs: `(num_videos k)`, probabilities of each video.
      label: `(num_videos)`, index of each video's class.
    """
    # A network that gives NaN is sure of nothing.
    sure, right = np.nan_to_num(probs.max(axis=1).astype(float)), metrics.top_k_correct(probs, label, k=1)
    bin_of = np.clip(np.ceil(sure * _BINS).astype(int) - 1, 0, _BINS - 1)
    return [
        {
            "above": number / _BINS,
            "up_to": (number + 1) / _BINS,
            "num_videos": int(inside.sum()),
            "probability": float(sure[inside].mean()),
            "accuracy": float(right[inside].mean()),
        }
        for number in range(_BINS)
        if (inside := bin_of == number).any()
    ]
