"""The verdict of a comparison of networks, in words: which network is enough, and whether the data needs motion."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vjax.evaluation.intervals import drop_interval

_PARTS = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth", 6: "a sixth", 8: "an eighth", 10: "a tenth"}
_SINGLE_FRAME = "single_frame"
_CHEAPER = 0.9  # share of the multiply-adds from which on a network is cheaper


def find_best(rows: Sequence[Mapping[str, Any]]) -> int:
    """Returns the position of the network of the highest video@1; of equal ones, the one of fewest multiply-adds."""
    return max(range(len(rows)), key=lambda i: (rows[i]["video@1"], -rows[i]["multiply_adds"]))


def compare_networks(
    rows: Sequence[Mapping[str, Any]],
    right: Mapping[str, np.ndarray],
    *,
    label: np.ndarray,
    groups: Sequence[str],
    sees_pictures: bool = True,
) -> list[str]:
    """Returns the verdict as sentences.

    Args:
      rows: for each network its `network`, `video@1`, `video@1_interval`, `multiply_adds`, and `motion`: what
        `describe_probes` returns.
      right: `(num_videos)` for each network: whether each video is right, or its share of right answers.
      label: `(num_videos)`, index of each video's class.
      groups: group of each video; empty for none.
      sees_pictures: whether `single_frame` sees pictures, and not the motion in a clip (`clip.input`).
    """
    best = rows[find_best(rows)]
    share = np.bincount(label).max() / len(label)
    if best["video@1_interval"][0] <= share:
        return [
            f"No network is surely better than always naming the largest class ({share:.3f}): the best is "
            f"{best['network']} with {_accuracy(best)}. Train longer, or on more videos."
        ]
    differences = {
        row["network"]: drop_interval(right[best["network"]], right[row["network"]], groups)
        for row in rows
        if row is not best
    }
    of_picture = _of_picture(best, differences) if sees_pictures else ()
    probes = f"{best['network']} with changed frames: {' '.join(best['motion']['verdict'])}"
    return [*_cost(rows, best, differences), *of_picture, probes]


def _cost(
    rows: Sequence[Mapping[str, Any]], best: Mapping[str, Any], differences: Mapping[str, Sequence[float]]
) -> Iterator[str]:
    """Yields which cheaper network is as good as the best one, as far as the videos can tell."""
    if len(rows) == 1:
        return
    similar = [row for row in rows if row is not best and differences[row["network"]][0] <= 0]
    cheaper = [row for row in similar if row["multiply_adds"] < _CHEAPER * best["multiply_adds"]]
    if cheaper:
        cheapest = min(cheaper, key=lambda row: row["multiply_adds"])
        low, high = differences[cheapest["network"]]
        yield (
            f"{cheapest['network']} ({cheapest['video@1']:.3f}) is within the interval of {best['network']} "
            f"({_accuracy(best)}) at {_part(cheapest['multiply_adds'] / best['multiply_adds'])} of its multiply-adds: "
            f"the difference lies between {low:.3f} and {high:.3f}."
        )
    elif similar:
        names = " and ".join(row["network"] for row in similar)
        yield f"{best['network']} ({_accuracy(best)}) is the best; {names}, not cheaper, may be as good."
    else:
        yield f"{best['network']} ({_accuracy(best)}) is better than all others."


def _of_picture(best: Mapping[str, Any], differences: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Yields whether a picture alone is enough."""
    if best["network"] == _SINGLE_FRAME:
        yield f"{_SINGLE_FRAME} is the best: a picture is enough."
    if _SINGLE_FRAME in differences:
        low, high = differences[_SINGLE_FRAME]
        if low > 0:
            yield f"{_SINGLE_FRAME} loses {low:.3f} to {high:.3f} of video@1: the data needs several frames."
        else:
            yield f"{_SINGLE_FRAME} is not surely worse (by {low:.3f} to {high:.3f}): a picture may be enough."


def _accuracy(row: Mapping[str, Any]) -> str:
    return "{:.3f}, interval {:.3f} to {:.3f}".format(row["video@1"], *row["video@1_interval"])


def _part(share: float) -> str:
    """Returns a share in words: "a fifth", "0.87", or "1/25"."""
    parts = round(1 / share)
    if abs(1 / share - parts) > 0.15 * parts or parts == 1:
        return f"{share:.2f}"
    return _PARTS.get(parts, f"1/{parts}")
