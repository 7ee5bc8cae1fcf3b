"""Whether a network needs motion, the order of the frames, or only a picture: what its accuracies on probes say."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vjax.evaluation.evaluate import Evaluation
from vjax.evaluation.intervals import accuracy_interval, drop_interval
from vjax.text import some

_SMALL = 0.1  # a drop that is surely smaller than this is none
_NAMED = 20  # classes in a sentence

# What a class needs, as far as this network and these videos can tell.
ORDER, FRAMES, PICTURE, UNKNOWN = "order", "frames", "a picture", "not known"


def describe_probes(
    normal: Evaluation, probed: Mapping[str, Evaluation], *, groups: Sequence[str], class_names: Sequence[str]
) -> dict[str, Any]:
    """Returns what a network loses by each probe, ready for JSON.

    Args:
      normal: evaluation of the unchanged videos.
      probed: evaluation of the same videos for each name in `PROBES`.
      groups: group of each video; empty for none.
      class_names: names of the classes.

    Returns:
      `probes`: for each probe its `video@1`, the `drop` from the unchanged videos and its 95 % `drop_interval`;
      `classes`: for each class its `num_videos`, its accuracy (`normal`), that on each probe, and what it `needs`:
      "order"; "frames", several in any order; "a picture"; or "not known" where the videos are too few to tell; and
      the `verdict`, a list of sentences.
    """
    right = normal.correct
    probes = {name: _drop(right, found.correct, groups) for name, found in probed.items()}
    classes = {}
    for index, name in enumerate(class_names):
        of_class = np.flatnonzero(normal.label == index)
        if not len(of_class):
            continue
        inside = [groups[i] for i in map(int, of_class)]
        drops = {probe: _drop(right[of_class], found.correct[of_class], inside) for probe, found in probed.items()}
        classes[name] = {
            "num_videos": len(of_class),
            "normal": float(right[of_class].mean()),
            **{probe: drop["video@1"] for probe, drop in drops.items()},
            "needs": _needs(drops),
        }
    low, _ = accuracy_interval(right, groups)
    learned = low > 1 / len(class_names)
    verdict = list(_verdict(probes, classes)) if learned else [_NOTHING_LEARNED]
    return {"probes": probes, "classes": classes, "verdict": verdict}


_NOTHING_LEARNED = (
    "The accuracy on unchanged videos may be chance, so the probes say nothing: train longer, or on more videos."
)


def _drop(before: np.ndarray, after: np.ndarray, groups: Sequence[str]) -> dict[str, Any]:
    return {
        "video@1": float(after.mean()),
        "drop": float(before.mean() - after.mean()),
        "drop_interval": drop_interval(before, after, groups),
    }


def _needs(drops: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns what the drops by the probes show to be needed."""
    if drops["shuffled"]["drop_interval"][0] > 0:
        return ORDER
    if drops["frozen"]["drop_interval"][0] > 0:
        return FRAMES
    return PICTURE if drops["frozen"]["drop_interval"][1] < _SMALL else UNKNOWN


def _verdict(probes: Mapping[str, Mapping[str, Any]], classes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    of_network = {
        ORDER: "This network needs the order of the frames: it is less accurate on shuffled frames.",
        FRAMES: "This network needs several frames, but not their order: it is less accurate on one frame alone, and "
        "not on shuffled frames.",
        PICTURE: "A picture is enough for this network: it is as accurate on one frame of each clip.",
        UNKNOWN: "These videos are too few to tell whether this network needs more than a picture.",
    }
    yield of_network[_needs(probes)]
    low, high = probes["reversed"]["drop_interval"]
    if low > 0:
        yield f"It needs the direction of time: backwards, it loses {low:.3f} to {high:.3f}."
    low, high = probes["thinned"]["drop_interval"]
    if high < _SMALL:
        yield f"Half of the frame rate is enough: with each second frame it loses at most {max(high, 0):.3f}."
    words = {ORDER: "the order of the frames", FRAMES: "several frames in any order", PICTURE: "a picture alone"}
    for needed, said in words.items():
        if names := [name for name, found in classes.items() if found["needs"] == needed]:
            yield f"Classes that need {said}: {some(names, most=_NAMED)}."
