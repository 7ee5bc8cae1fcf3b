"""Text output: tables that read well on a terminal and in a README, and the progress of long jobs."""

import time
from collections.abc import Sequence
from typing import TextIO

from tqdm import tqdm

_SECONDS = 10.0  # between two plain progress lines


def format_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns an aligned Markdown table; the first column is left-aligned text, the others right-aligned numbers.

    >>> print(format_table(["network", "video@1"], [["slow_fusion", 0.975], ["late_pool", None]]))
    | network     | video@1 |
    | ----------- | ------: |
    | slow_fusion |   0.975 |
    | late_pool   |       - |
    """
    cells = [list(columns)] + [[_format(value) for value in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = []
    for row in cells:
        aligned = [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
        lines.append("| " + " | ".join(aligned) + " |")
    rule = [("-" * width if i == 0 else "-" * (width - 1) + ":") for i, width in enumerate(widths)]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]])


class Progress:
    """Shows how many items are done and the time left: a bar on a terminal, plain lines elsewhere."""

    def __init__(self, stream: TextIO, *, unit: str):
        self._stream, self._unit = stream, unit
        self._bar: tqdm | None = None
        self._started = self._shown = time.monotonic()
        self._first: int | None = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, done: int, total: int) -> None:
        """Shows that `done` of `total` items are done."""
        if self._stream.isatty():
            if self._bar is None:
                self._bar = open_bar(self._stream, total=total, done=done, unit=self._unit)
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if self._first is None:
            self._first = done
        elif now - self._shown < _SECONDS and done < total:
            return
        self._shown = now
        rate = (done - self._first) / max(1e-9, now - self._started)
        left = f", {format_time((total - done) / rate)} left" if rate and done < total else ""
        self._stream.write(f"{done} of {total} {self._unit}s{left}\n")
        self._stream.flush()


def open_bar(stream: TextIO, *, total: int, done: int, unit: str) -> tqdm:
    """Returns a progress bar for a terminal."""
    return tqdm(total=total, initial=done, file=stream, unit=unit, dynamic_ncols=True)


def format_time(seconds: float) -> str:
    """Returns a time in minutes and seconds.

    >>> format_time(75.2)
    '1:15'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _format(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool() | str():
            return str(value)
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
        case _:
            return str(value)
