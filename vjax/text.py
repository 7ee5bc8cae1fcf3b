"""Text output: tables that read well on a terminal and in a README, and the progress of long jobs."""

import shutil
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from tqdm import tqdm

_SECONDS = 10.0  # between two plain progress lines

Advance = Callable[[int, int], None]  # progress callback; gets the number of finished items and the number of all items


def show_nothing(done: int, total: int) -> None:
    """Ignores the progress of a job; the `Advance` of library functions unless the caller gives another one."""


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


def count(number: int, thing: str, things: str = "") -> str:
    """Returns a number with the name of what is counted, in the plural unless it is one.

    >>> count(1, "window"), count(4499, "window"), count(2, "class", "classes")
    ('1 window', '4,499 windows', '2 classes')
    """
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def some(names: Sequence[str], *, most: int = 10) -> str:
    """Returns the first names as one text, and how many more there are.

    >>> some(["a", "b", "c"], most=2)
    'a; b; and 1 more'
    """
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return "; ".join([*names[:most], *more])


def terminal_width() -> int:
    """Returns the number of columns of the terminal; 80 if there is none."""
    return shutil.get_terminal_size().columns


def wrap(text: str, *, width: int, hang: int = 0) -> str:
    """Returns a paragraph in lines of up to `width` columns; a longer word, such as a path, keeps its line.

    Args:
      text: paragraph; the spaces at its beginning stay.
      width: largest number of columns of a line.
      hang: number of spaces before every line but the first.

    >>> print(wrap("data  200 videos to train on", width=20, hang=6))
    data  200 videos to
          train on
    """
    return textwrap.fill(text, width, subsequent_indent=" " * hang, break_long_words=False, break_on_hyphens=False)


def shorten(text: str, width: int) -> str:
    """Returns a text of up to `width` columns; a longer one loses its end.

    >>> shorten("Pretending to open something", 16)
    'Pretending to...'
    """
    return text if len(text) <= width else text[: width - 3].rstrip() + "..."


def compact(number: float) -> str:
    """Returns a number in three digits, with a prefix of the SI.

    >>> compact(24_216), compact(2_123_672), compact(640)
    ('24.2 k', '2.12 M', '640')
    """
    for factor, prefix in ((1, ""), (1e3, " k"), (1e6, " M"), (1e9, " G")):
        if number / factor < 999.5:
            return f"{number / factor:#.3g}".rstrip(".") + prefix
    return f"{number / 1e12:#.3g} T"


def visible(text: str) -> str:
    r"""Returns a text in one line, with control characters and line breaks as escapes; a file may hold any text.

    >>> visible("conv\n\x1b[2J")
    'conv\\n\\x1b[2J'
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def printable(text: str) -> str:
    """Returns a text with the bytes of file names that are not UTF-8 as escapes, because they cannot be printed."""
    return text.encode(errors="backslashreplace").decode()


class Progress:
    """Shows how many items are done and the time left: a bar on a terminal, plain lines elsewhere."""

    def __init__(self, stream: TextIO, *, unit: str, job: str = "", quiet_s: float = 0.0):
        """Shows nothing yet.

        Args:
          stream: stream to write to.
          unit: name of one item.
          job: name of the job, which is shown in front; nothing if empty.
          quiet_s: seconds from the first call of `advance` in which nothing is shown; a job that ends before leaves no
            text.
        """
        self._stream, self._unit, self._quiet_s = stream, unit, quiet_s
        self._front = f"{job}: " if job else ""
        self._bar: tqdm | None = None
        self._pace: Pace | None = None
        self._due = 0.0  # time of the next plain line
        self._shown = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, done: int, total: int) -> None:
        """Shows that `done` of `total` items are done."""
        now = time.monotonic()
        if self._pace is None:
            self._pace, self._due = Pace(done), now + self._quiet_s
        if now < self._due and not self._shown:
            return
        left = self._pace.time_left(done, total)
        if self._stream.isatty():
            self._shown = True
            if self._bar is None:
                self._bar = open_bar(self._stream, total=total, done=done, unit=self._unit, front=self._front)
            move_bar(self._bar, done, left)
        elif now >= self._due or done == total:
            self._shown, self._due = True, now + _SECONDS
            self._stream.write(f"{self._front}{done} of {total} {self._unit}s{left and ', ' + left}\n")
            self._stream.flush()


class Pace:
    """Estimates the time left from the speed since this object was made."""

    def __init__(self, done: int):
        self._first, self._started = done, time.monotonic()

    def time_left(self, done: int, total: int) -> str:
        """Returns the time left, such as "1:15 left"; empty before there is a speed, and at the end."""
        if not self._first < done < total:
            return ""
        per_item = (time.monotonic() - self._started) / (done - self._first)
        return f"{format_time(per_item * (total - done))} left"


def open_bar(stream: TextIO, *, total: int, done: int, unit: str, front: str = "") -> tqdm:
    """Returns a progress bar for a terminal: `25%|###        | 500/2000 steps, 1:15 left`, after the text `front`."""
    shape = front + "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {unit}s{postfix}"
    return tqdm(total=total, initial=done, file=stream, unit=unit, bar_format=shape, dynamic_ncols=True)


def move_bar(bar: tqdm, done: int, left: str) -> None:
    """Moves a progress bar and shows the time left, which may be empty."""
    bar.set_postfix_str(left, refresh=False)
    bar.update(done - bar.n)


def format_time(seconds: float) -> str:
    """Returns a time in minutes and seconds, from one hour on also in hours.

    >>> format_time(75.2)
    '1:15'
    >>> format_time(4512)
    '1:15:12'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


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
