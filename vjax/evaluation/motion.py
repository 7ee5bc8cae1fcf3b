"""Whether a network needs motion, the order of the frames, or only a picture: what its accuracies on probes say."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vjax.evaluation.intervals import accuracy_interval, drop_interval
from vjax.text import some

_SMALL = 0.1  # a drop that is surely smaller than this is none
_NAMED = 20  # classes in a sentence

# What a class needs, as far as this network and these videos can tell.
ORDER, FRAMES, PICTURE, UNKNOWN = "order", "frames", "a picture", "not known"


def describe_probes(
    normal: np.ndarray,
    probed: Mapping[str, np.ndarray],
    *,
    label: np.ndarray,
    groups: Sequence[str],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Returns what a network loses by each probe, ready for JSON.

    Args:
      normal: `(num_videos)`, whether each unchanged video is classified correctly, or its share of right answers.
      probed: the same of the changed videos, for each name in `PROBES`.
      label: `(num_videos)`, index of each video's class.
      groups: group of each video; empty for none.
      class_names: names of the classes.

    Returns:
      `probes`: for each probe its `video@1`, the `drop` from the unchanged videos and its 95 % `drop_interval`;
      `classes`: for each class its `num_videos`, its accuracy (`normal`), that on each probe, and what it `needs`:
      "order"; "frames", several of them; "a picture"; or "not known", where the class may not be recognised at all or
      its videos are too few or of one group; and the `verdict`, a list of sentences.
    """
    probes = {name: _drop(normal, found, groups) for name, found in probed.items()}
    learned = accuracy_interval(normal, groups)[0] > np.bincount(label).max() / len(label)
    classes = {}
    for index, name in enumerate(class_names):
        of_class = np.flatnonzero(label == index)
        if not len(of_class):
            continue
        inside = [groups[i] for i in map(int, of_class)]
        drops = {probe: _drop(normal[of_class], found[of_class], inside) for probe, found in probed.items()}
        recognised = accuracy_interval(normal[of_class], inside)[0] > 1 / len(class_names)
        of_one_group = len(set(inside)) == 1 and inside[0] != ""
        classes[name] = {
            "num_videos": len(of_class),
            "normal": float(normal[of_class].mean()),
            **{probe: drop["video@1"] for probe, drop in drops.items()},
            "needs": _needs(drops) if learned and recognised and not of_one_group else UNKNOWN,
        }
    verdict = list(_verdict(probes, classes)) if learned else [_NOTHING_LEARNED]
    return {"probes": probes, "classes": classes, "verdict": verdict}


_NOTHING_LEARNED = (
    "On unchanged videos, the network may be no better than one that always names the largest class, so the probes say "
    "nothing: train longer, or on more videos."
)


def _drop(before: np.ndarray, after: np.ndarray, groups: Sequence[str]) -> dict[str, Any]:
    return {
        "video@1": float(after.mean()),
        "drop": float(before.mean() - after.mean()),
        "drop_interval": drop_interval(before, after, groups),
    }


def _needs(drops: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns what the drops by the probes show to be needed."""
    low, high = ({name: drop["drop_interval"][end] for name, drop in drops.items()} for end in (0, 1))
    if low["shuffled"] > 0 or low["reversed"] > 0:
        return ORDER
    if low["frozen"] > 0:
        return FRAMES
    return PICTURE if high["frozen"] < _SMALL else UNKNOWN


def _verdict(probes: Mapping[str, Mapping[str, Any]], classes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yields the verdict about a network that has learned something."""
    intervals = {name: probe["drop_interval"] for name, probe in probes.items()}
    of_network = {
        ORDER: "This network needs the order of the frames.",
        FRAMES: "This network needs several frames: it is less accurate on one frame alone.",
        PICTURE: "A picture is enough for this network: it is as accurate on one frame of each clip.",
        UNKNOWN: "These videos are too few to tell whether this network needs more than a picture.",
    }
    yield of_network[_needs(probes)]
    for name, said in {"shuffled": "in random order", "reversed": "backwards", "frozen": "on one frame"}.items():
        low, high = intervals[name]
        if low > 0:
            yield f"It loses {low:.3f} to {high:.3f} of video@1 {said}."
    if _needs(probes) == FRAMES:
        small = max(intervals["shuffled"][1], intervals["reversed"][1]) < _SMALL
        yield "Their order does not matter." if small else "Whether their order matters is not known."
    if intervals["thinned"][1] < _SMALL:
        most = max(intervals["thinned"][1], 0)
        yield f"Half of the frame rate is enough: with each second frame it loses at most {most:.3f}."
    words = {ORDER: "the order of the frames", FRAMES: "several frames", PICTURE: "a picture alone"}
    for needed, said in words.items():
        if names := [name for name, found in classes.items() if found["needs"] == needed]:
            yield f"Classes that need {said}: {some(names, most=_NAMED)}."
