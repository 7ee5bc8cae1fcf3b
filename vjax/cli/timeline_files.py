"""The files of a timeline: its probabilities, its segments, and a picture."""

import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vjax.evaluation.figures import draw_timeline, write_figure
from vjax.evaluation.segments import Segment
from vjax.evaluation.timeline import Timeline
from vjax.json_files import GrowingCSV, check_writable, write_csv, write_json, write_text

_SEGMENT_COLUMNS = ("start_s", "end_s", "class", "score")


def write_timeline(folder: Path, timeline: Timeline, segments: Sequence[Segment], class_names: Sequence[str]) -> None:
    """Writes `probs.csv`, `probs.png`, and `segments.csv`, `.json` and `.srt` into a folder.

    Raises:
      InputError: a file cannot be written; those before it are kept.
    """
    rows = itertools.starmap(_window_row, zip(timeline.start_s, timeline.end_s, timeline.probs, strict=True))
    write_csv(folder / "probs.csv", itertools.chain([_window_columns(class_names)], rows))
    write_csv(
        folder / "segments.csv", [_SEGMENT_COLUMNS, *(_segment_row(segment, class_names) for segment in segments)]
    )
    _write_segments(folder, timeline.name, segments, class_names)
    write_figure(folder / "probs.png", draw_timeline(timeline, segments, class_names))


class StreamFiles:
    """The files of a stream: `probs.csv` and `segments.csv` grow while it comes; None as the folder writes nothing."""

    def __init__(self, folder: Path | None, name: str, class_names: Sequence[str]):
        """Begins the tables.

        Raises:
          InputError: the files cannot be written.
        """
        self._folder, self._name, self._class_names = folder, name, class_names
        self._segments: list[Segment] = []
        self._opened = contextlib.ExitStack()
        if folder is not None:
            check_writable(folder / "probs.csv")
            self._windows = self._opened.enter_context(GrowingCSV(folder / "probs.csv", _window_columns(class_names)))
            self._rows = self._opened.enter_context(GrowingCSV(folder / "segments.csv", _SEGMENT_COLUMNS))

    def __enter__(self) -> "StreamFiles":
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the tables, and writes `segments.json` and `segments.srt`."""
        self._opened.close()
        if self._folder is not None:
            _write_segments(self._folder, self._name, self._segments, self._class_names)

    def add_window(self, start_s: float, end_s: float, probs: np.ndarray) -> None:
        """Writes the probabilities `(k)` of a window."""
        if self._folder is not None:
            self._windows.add(_window_row(start_s, end_s, probs))

    def add_segment(self, segment: Segment) -> None:
        """Writes a segment."""
        if self._folder is not None:
            self._rows.add(_segment_row(segment, self._class_names))
            self._segments.append(segment)


def _window_columns(class_names: Sequence[str]) -> tuple[str, ...]:
    return ("start_s", "end_s", *class_names)


def _window_row(start_s: float, end_s: float, probs: np.ndarray) -> tuple[str, ...]:
    return (f"{start_s:.3f}", f"{end_s:.3f}", *(f"{p:.6f}" for p in probs))


def _segment_row(segment: Segment, class_names: Sequence[str]) -> tuple[object, ...]:
    named = segment.named(class_names)
    return tuple(named[column] for column in _SEGMENT_COLUMNS)


def _write_segments(folder: Path, name: str, segments: Sequence[Segment], class_names: Sequence[str]) -> None:
    write_json(folder / "segments.json", {"video": name, "segments": [s.named(class_names) for s in segments]})
    write_text(folder / "segments.srt", subtitles(segments, class_names))


def subtitles(segments: Sequence[Segment], class_names: Sequence[str]) -> str:
    """Returns segments as subtitles in SubRip's form, which players show beside a video.

    >>> print(subtitles([Segment(0.0, 61.5, 0, 0.9)], ["walk"]).strip())
    1
    00:00:00,000 --> 00:01:01,500
    walk (0.90)
    """
    blocks = [
        f"{number}\n{_stamp(segment.start_s)} --> {_stamp(segment.end_s)}\n"
        f"{' '.join(class_names[segment.label].split())} ({segment.score:.2f})\n"
        for number, segment in enumerate(segments, start=1)
    ]
    return "\n".join(blocks)


def _stamp(seconds: float) -> str:
    rest, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, seconds_left = divmod(rest, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds_left:02d},{milliseconds:03d}"
