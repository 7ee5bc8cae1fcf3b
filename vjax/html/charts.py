"""Charts as plain data: the positions of lines, bars and cells, which the templates of a page draw as SVG."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vjax.text import shorten

WIDTH, HEIGHT = 640.0, 220.0  # of a line chart; a page scales its charts
LEFT, RIGHT, TOP, BOTTOM = 56.0, 12.0, 10.0, 28.0  # margins around the lines
_TICKS = 5
MAX_CELLS = 6000  # of a confusion matrix; a page of more would be too large
_MAX_POINTS = 400  # of a line
_LARGEST = 1e30  # larger numbers are left out, as those of a run that has diverged
_NAME_CHARS = 40


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
      name: name in the legend.
      points: positions of the line, as SVG's `points`.
      dots: positions `(x, y, text)` of single points that are marked; the text says what they are.
    """

    name: str
    points: str
    dots: tuple[tuple[float, float, str], ...]


@dataclasses.dataclass(frozen=True)
class LineChart:
    """Lines over a common axis.

    Attributes:
      title: what the chart shows.
      x_label: name of the horizontal axis.
      lines: lines.
      x_ticks: positions and texts on the horizontal axis.
      y_ticks: positions and texts on the vertical axis.
    """

    title: str
    x_label: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


def line_chart(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_label: str,
    unit_range: bool = False,
    marked: Sequence[str] = (),
) -> LineChart:
    """Returns the chart of several series; values that are not finite, or beyond 1e30, are left out.

    Args:
      title: what the chart shows.
      series: points `(x, y)` of each line, by name.
      x_label: name of the horizontal axis.
      unit_range: whether the vertical axis goes from 0 to 1.
      marked: names of the series whose points get dots; a series of one point always gets one.

    >>> chart = line_chart("loss", {"train/loss": [(0, 2.0), (10, 1.0)]}, x_label="step")
    >>> chart.lines[0].points
    '56.0,10.0 628.0,192.0'
    """
    finite = {
        name: [(x, y) for x, y in points if abs(x) < _LARGEST and abs(y) < _LARGEST] for name, points in series.items()
    }
    every = [point for points in finite.values() for point in points] or [(0.0, 0.0)]
    x_low, x_high = _widen(min(x for x, _ in every), max(x for x, _ in every))
    y_low, y_high = (0.0, 1.0) if unit_range else _widen(min(y for _, y in every), max(y for _, y in every))

    def place(x: float, y: float) -> tuple[float, float]:
        right = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        down = TOP + (y_high - y) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        return round(right, 1), round(down, 1)

    lines = []
    for name, points in finite.items():
        thinned = points[:: max(1, len(points) // _MAX_POINTS)]
        thinned += points[-1:] if points and thinned[-1] != points[-1] else []
        places = [place(*point) for point in thinned]
        dots = name in marked or len(points) == 1
        texts = [f"{name} {y:.4g} at {x:g}" for x, y in thinned]
        lines.append(
            Line(
                name,
                " ".join(f"{x},{y}" for x, y in places),
                tuple((*at, text) for at, text in zip(places, texts, strict=True)) if dots else (),
            )
        )
    return LineChart(
        title,
        x_label,
        tuple(lines),
        tuple((place(x, y_low)[0], f"{x:g}") for x in _ticks(x_low, x_high)),
        tuple((place(x_low, y)[1], f"{y:.3g}") for y in _ticks(y_low, y_high)),
    )


def _widen(low: float, high: float) -> tuple[float, float]:
    """Returns a range with some width, also around a single number of any size."""
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    around = 0.1 * abs(low) or 0.5
    return low - around, low + around


def _ticks(low: float, high: float) -> list[float]:
    """Returns round numbers in a range: multiples of 1, 2 or 5 times a power of ten.

    >>> _ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [float(f"{number * step:.9g}") for number in range(first, last + 1)]


@dataclasses.dataclass(frozen=True)
class Bar:
    """One bar with its interval, all as shares of the width, in percent.

    Attributes:
      name: name beside the bar.
      value: length of the bar.
      low: lower end of the interval; None if there is none.
      high: upper end of the interval.
      text: number behind the bar.
      link: address that the name links to; empty for none.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    text: str
    link: str = ""


def bar(
    name: str, value: float | None, interval: Sequence[float] | None = None, *, detail: str = "", link: str = ""
) -> Bar:
    """Returns the bar of an accuracy from 0 to 1; None, for a class without videos, has no length.

    >>> bar("walk", 0.75, [0.5, 0.9], detail="8 videos").text
    '0.750 (0.500 to 0.900), 8 videos'
    """
    said = "no videos" if value is None else f"{value:.3f}"
    if value is not None and interval is not None:
        said += f" ({interval[0]:.3f} to {interval[1]:.3f})"
    said += f", {detail}" if detail else ""
    low, high = (None, None) if interval is None or value is None else (100 * interval[0], 100 * interval[1])
    return Bar(name, 100 * (value or 0.0), low, high, said, link)


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A confusion matrix of which only the cells with videos are drawn.

    Attributes:
      names: names of the classes.
      cells: `(label, predicted, share, text)` of each cell: the share of the label's videos, and what it says.
      orders: positions of the classes, by the name of an order.
      left_out: number of cells that are not drawn, because there are too many.
    """

    names: tuple[str, ...]
    cells: tuple[tuple[int, int, float, str], ...]
    orders: dict[str, list[int]]
    left_out: int


def confusion_matrix(confusion: Any, class_names: Sequence[str], *, most_cells: int = MAX_CELLS) -> Matrix:
    """Returns the matrix of counts `(k k)`, whose rows are labels and whose columns are predictions.

    Args:
      confusion: counts.
      class_names: names of the classes.
      most_cells: number of cells that are drawn, those with most videos.
    """
    shown = [shorten(name, _NAME_CHARS) for name in class_names]
    counts = np.asarray(confusion)
    per_label = counts.sum(1)
    cells = []
    for label, predicted in np.argwhere(counts):
        count, total = int(counts[label, predicted]), int(per_label[label])
        said = f"{shown[label]} taken for {shown[predicted]}: {count:,} of {total:,} videos"
        if label == predicted:
            said = f"{shown[label]} recognised: {count:,} of {total:,} videos"
        cells.append((int(label), int(predicted), round(count / total, 3), said))
    kept = sorted(cells, key=lambda cell: -counts[cell[0], cell[1]])[:most_cells]
    accuracy = np.diag(counts) / np.maximum(per_label, 1)
    orders = {
        "by name": list(range(len(class_names))),
        "hardest first": np.argsort(np.where(per_label > 0, accuracy, 2), kind="stable").tolist(),
        "most videos first": np.argsort(-per_label, kind="stable").tolist(),
    }
    return Matrix(tuple(shown), tuple(kept), orders, len(cells) - len(kept))
