"""Sections of a page about an evaluation: what is taken for what, and each class."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vjax.evaluation.intervals import accuracy_interval
from vjax.html import charts
from vjax.html.page import Bars, Confusion, Section, Table
from vjax.text import count

MOST_CLASSES = 200  # bars or rows of a section
_CONFUSIONS = 20


def confusion_section(confusion: Any, names: Sequence[str], *, most_cells: int = charts.MAX_CELLS) -> Section:
    """Returns the section with the confusion matrix, and a table of the most frequent confusions."""
    counts = np.asarray(confusion)
    wrong = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS]
    rows = [
        (names[label], names[predicted], f"{wrong[label, predicted]:,} of {counts[label].sum():,}")
        for label, predicted in (divmod(int(cell), len(counts)) for cell in order)
        if wrong[label, predicted]
    ]
    blocks: list[Any] = [Confusion(charts.confusion_matrix(confusion, names, most_cells=most_cells))]
    if rows:
        blocks.append(Table("most frequent confusions", ["label", "predicted", "videos"], rows))
    return Section("confusion", "What is taken for what", blocks=blocks)


def classes_section(label: np.ndarray, right: np.ndarray, groups: Sequence[str], names: Sequence[str]) -> Section:
    """Returns the section with the accuracy of each class and its interval.

    Args:
      label: `(num_videos)`, class of each video.
      right: `(num_videos)`, whether each video is classified correctly.
      groups: group of each video; an empty text if none is known.
      names: names of the classes.
    """
    bars = []
    for index, name in enumerate(names):
        inside = np.flatnonzero(label == index)
        if not len(inside):
            continue
        interval = accuracy_interval(right[inside], [groups[int(i)] for i in inside])
        bars.append(charts.bar(name, float(right[inside].mean()), interval, detail=count(len(inside), "video")))
    shown = sorted(bars, key=lambda bar: bar.value)[:MOST_CLASSES]
    text = "" if len(shown) == len(bars) else f"These are the {len(shown)} least accurate of {len(bars):,} classes. "
    if untested := len(names) - len(bars):
        text += f"Classes without test videos: {untested:,}."
    return Section("classes", "Each class", text, [Bars("accuracy of each class", shown, 1 / len(names))])
