"""The pictures of a run: its confusion matrix, the curves of its numbers, and the timeline of a video.

matplotlib is imported only when a picture is drawn, because that takes a second. Its global state stays unchanged.
"""

import io
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from vjax.evaluation.segments import Segment
from vjax.evaluation.timeline import Timeline
from vjax.json_files import write_bytes
from vjax.text import printable, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 120
_SIDE_IN, _CELL_IN = 7.0, (0.085, 0.75)  # side of a usual matrix; smallest and largest side of a cell
_MAX_SIDE_IN = 36.0
_COUNTED = 25  # most classes whose counts are written into the cells
_BOTH_SIDES = 40  # from this number of classes on, the names are on all four sides
_NAME_CHARS = 32
_TIMELINE_CLASSES = 8  # of most lines
_FEW_POINTS = 40  # curves of fewer points have markers


def write_figure(path: str | Path, figure: "Figure") -> None:
    """Writes a figure as a PNG file.

    Raises:
      InputError: the file cannot be written.
    """
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a class name in letters that no font has
        figure.savefig(content, format="png", dpi=_DPI, bbox_inches="tight", pad_inches=0.15)
    write_bytes(path, content.getvalue())


def draw_confusion(confusion: ArrayLike, class_names: Sequence[str]) -> "Figure":
    """Returns a figure of a confusion matrix; a cell's colour is its share of the label's videos.

    Args:
      confusion: counts `(k k)`; a row is the label, a column the prediction.
      class_names: names of the classes.
    """
    from matplotlib.colors import PowerNorm

    # The matrix. The norm makes small shares visible: 0.04 has a fifth of the full colour.
    counts = np.asarray(confusion)
    num_classes, per_label = len(counts), counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(per_label, 1)
    cell = float(np.clip(_SIDE_IN / num_classes, *_CELL_IN))
    side = min(cell * num_classes, _MAX_SIDE_IN)
    figure, axes = _empty_figure(side)
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    _draw_grid(axes, num_classes)
    if num_classes <= _COUNTED:
        for label, predicted in np.argwhere(counts):
            colour = "white" if shares[label, predicted] > 0.4 else "black"
            count = f"{counts[label, predicted]:,}"
            axes.text(predicted, label, count, color=colour, ha="center", va="center", fontsize=min(10, 26 * cell))
    # The names of the classes: every one, unless there are more than fit.
    every = math.ceil(_CELL_IN[0] * num_classes / side - 1e-9)
    size = min(9.0, 0.8 * 72 * side * every / num_classes)
    names = [shorten(printable(name), _NAME_CHARS) for name in class_names]
    width_in = 0.65 * size / 72 * max(map(len, names))
    both = num_classes >= _BOTH_SIDES
    ticks = range(0, num_classes, every)
    axes.set_xticks(ticks, names[::every], fontsize=size, parse_math=False)
    axes.set_yticks(ticks, names[::every], fontsize=size, parse_math=False)
    axes.tick_params("x", length=0, labeltop=both, labelrotation=0 if width_in < side / num_classes else 90)
    axes.tick_params("y", length=0, labelright=both)
    # Titles, and the scale of the colours.
    axes.set_xlabel("prediction", fontsize=10)
    axes.set_ylabel("label", fontsize=10)
    right, total = int(np.trace(counts)), int(counts.sum())
    axes.set_title(f"{right:,} of {total:,} videos are classified correctly", fontsize=10)
    gap = (0.15 + both * (width_in + 0.1)) / side
    height = min(1.0, 3 / side)
    scale = figure.colorbar(image, cax=figure.add_axes((1 + gap, 1 - height, 0.15 / side, height)))
    scale.set_ticks([0, 0.05, 0.25, 0.5, 1], labels=["0", "0.05", "0.25", "0.5", "1"], fontsize=8)
    scale.set_label("share of the label's videos", fontsize=8)
    return figure


def _empty_figure(side: float) -> "tuple[Figure, Axes]":
    """Returns a figure whose only axes are a square of a side in inches; names lie outside of it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(side, side))
    return figure, figure.add_axes((0, 0, 1, 1))


def _draw_grid(axes: "Axes", num_classes: int) -> None:
    """Draws the lines between the cells."""
    between = np.arange(1, num_classes) - 0.5
    axes.hlines(between, -0.5, num_classes - 0.5, color="0.9", linewidth=0.4)
    axes.vlines(between, -0.5, num_classes - 0.5, color="0.9", linewidth=0.4)
    for spine in axes.spines.values():
        spine.set_color("0.6")


def draw_curves(rows: Sequence[Mapping[str, float]]) -> "Figure":
    """Returns a figure of a run's numbers by step: loss, accuracy, learning rate.

    Metrics of evaluations have names that begin with "val/" or "test/"; those outside of [0, 1] have a panel of their
    own.

    Args:
      rows: lines of `metrics.jsonl`, each a `step` and numbers by name.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels = {title: names for title, names in _panels(rows).items() if names} or {"loss": []}
    figure = Figure(figsize=(8, 2.6 * len(panels)), layout="constrained")
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, names) in zip(all_axes, panels.items(), strict=True):
        for name in names:
            points = [(row["step"], row[name]) for row in rows if name in row]
            dots = not name.startswith("train/") or len(points) < _FEW_POINTS
            axes.plot(*zip(*points, strict=True), label=name, linewidth=1.2, marker="o" if dots else "", markersize=3)
        axes.set_ylabel(title)
        if title == "accuracy":
            axes.set_ylim(-0.03, 1.03)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.grid(color="0.9")
        if names:
            axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    all_axes[-1].set_xlabel("step")
    all_axes[-1].set_xlim(left=0)
    return figure


def draw_timeline(timeline: Timeline, segments: Sequence[Segment], class_names: Sequence[str]) -> "Figure":
    """Returns a figure of the probabilities of a video over time, with its segments as bands.

    Of many classes, those that reach the highest probabilities are drawn.
    """
    from matplotlib.figure import Figure

    shown = timeline.most_probable(_TIMELINE_CLASSES)
    figure = Figure(figsize=(10, 3), layout="constrained")
    axes = figure.subplots()
    middles = timeline.middle_s
    colours = {}
    for k in shown:
        name = shorten(printable(class_names[k]), _NAME_CHARS)
        dots = "o" if len(middles) < _FEW_POINTS else ""
        (line,) = axes.plot(middles, timeline.probs[:, k], label=name, linewidth=1.2, marker=dots, markersize=3)
        colours[k] = line.get_color()
    for segment in segments:
        axes.axvspan(segment.start_s, segment.end_s, color=colours.get(segment.label, "0.5"), alpha=0.15, linewidth=0)
    axes.set_xlim(timeline.start_s[0], timeline.end_s[-1])
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("seconds")
    axes.set_ylabel("probability")
    axes.grid(color="0.9")
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _panels(rows: Iterable[Mapping[str, float]]) -> dict[str, list[str]]:
    """Returns the names of the numbers that belong into each panel."""
    values: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    panels: dict[str, list[str]] = {"loss": [], "accuracy": [], "other metrics": [], "learning rate": []}  # top first
    for name, found in values.items():
        of_evaluation = name.startswith(("val/", "test/"))
        metric = name.partition("/")[2]
        if metric == "loss":
            panels["loss"].append(name)
        elif name == "train/learning_rate":
            panels["learning rate"].append(name)
        elif "@" in metric or (of_evaluation and all(0 <= value <= 1 for value in found)):
            panels["accuracy"].append(name)
        elif of_evaluation:
            panels["other metrics"].append(name)
    return panels
