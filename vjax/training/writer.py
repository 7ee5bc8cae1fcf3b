"""Writers of a run's numbers: JSON lines, TensorBoard events, and a terminal."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2
from tqdm import tqdm

from vjax.json_files import write_text
from vjax.text import Pace, move_bar, open_bar

_PROTO: Any = event_pb2  # Any, because its classes are created at run time


class Writer(Protocol):
    """Receives the numbers of a run."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Receives the numbers of a step, by name."""

    def advance(self, step: int) -> None:
        """Receives every step, after it is dispatched and before its numbers."""

    def close(self) -> None:
        """Writes everything that is buffered, and ends the output."""


class JsonLines:
    """A file with one JSON object per line: `{"step": 100, "train/loss": 0.5}`."""

    def __init__(self, path: str | Path, *, start_step: int):
        """Opens the file; lines after `start_step` are removed, because those steps are taken again."""
        self._path = Path(path)
        if self._path.exists():
            lines = self._path.read_text().splitlines(keepends=True)
            write_text(self._path, "".join(line for line in lines if _is_before(line, start_step)))
        self._stream = self._path.open("a")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one line and flushes it."""
        self._stream.write(json.dumps({"step": step, **values}) + "\n")
        self._stream.flush()

    def advance(self, step: int) -> None:
        """Does nothing: only numbers are written."""

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()


def read_json_lines(path: str | Path) -> list[dict[str, float]]:
    """Returns the lines of a file that `JsonLines` has written."""
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


class TensorBoard:
    """Event files for TensorBoard, written without TensorFlow.

    The calling thread writes them. tensorboardX has a thread for this, but it dies when the disk is full, and then its
    callers wait forever.
    """

    def __init__(self, directory: str | Path, *, start_step: int):
        """Opens a new event file; TensorBoard then ignores older events after `start_step`."""
        Path(directory).mkdir(parents=True, exist_ok=True)
        self._events = EventsWriter(str(Path(directory) / "events"))
        start = _PROTO.SessionLog(status=_PROTO.SessionLog.START)
        self._events.write_event(_PROTO.Event(wall_time=time.time(), step=start_step + 1, session_log=start))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to each curve."""
        for name, value in values.items():
            point = _PROTO.Event(wall_time=time.time(), step=step, summary=summary.scalar(name, value))
            self._events.write_event(point)
        self._events.flush()

    def advance(self, step: int) -> None:
        """Does nothing: only numbers are written."""

    def close(self) -> None:
        """Writes everything that is buffered, and closes the file."""
        self._events.close()


class Console:
    """One line for each set of numbers; on a terminal they stay above a progress bar.

    The time left is measured from the fifth step on, because the first steps are slow.
    """

    def __init__(self, stream: TextIO, *, start_step: int, num_steps: int):
        """Opens the bar if the stream is a terminal."""
        self._stream, self._start_step, self._num_steps = stream, start_step, num_steps
        self._pace: Pace | None = None
        self._advised = False
        self._bar = open_bar(stream, total=num_steps, done=start_step, unit="step") if stream.isatty() else None

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the numbers on a line; those of training with the time left if there is no bar to show it."""
        words = describe(values)
        left = self._time_left(step) if self._bar is None and "train/loss" in values else ""
        if words:
            self._line("  ".join(filter(None, [f"step {step}/{self._num_steps}", words, left])))
        if values.get("train/data_wait", 0.0) > _MUCH_WAITING and not self._advised:
            self._line(_ADVICE)
            self._advised = True

    def advance(self, step: int) -> None:
        """Moves the bar."""
        if step == self._start_step + _SLOW_STEPS:
            self._pace = Pace(step)
        if self._bar is not None:
            move_bar(self._bar, step, self._time_left(step))

    def close(self) -> None:
        """Closes the bar, which stays visible, and starts a new line."""
        if self._bar is not None:
            self._bar.close()

    def _line(self, text: str) -> None:
        tqdm.write(text, file=self._stream)
        self._stream.flush()

    def _time_left(self, step: int) -> str:
        return self._pace.time_left(step, self._num_steps) if self._pace else ""


def describe(values: Mapping[str, float]) -> str:
    """Returns the numbers as one line of text: `clip@1 0.873  loss 0.512  121 clips/s`."""
    words: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for key, value in values.items():
        split, _, name = key.partition("/")
        if name not in _FILES_ONLY and not value < _SHOWN_FROM.get(name, -math.inf):  # NaN is shown
            words[split].append(_FORMATS.get(name, name + " {:.3f}").format(value))
    for split in ("val", "test"):
        if words[split]:
            words[split][0] = f"{split}: {words[split][0]}"
    return "  ".join([*words["train"], *words["val"], *words["test"]])


_SLOW_STEPS = 5  # not counted in the time left
_MUCH_WAITING = 0.3  # share of the time that faster reading could save
_ADVICE = "reading is the bottleneck: raise num_workers; `vjax prepare` helps video files"

_FILES_ONLY = (
    "checkpoint_s", "device_memory_mb", "grad_norm", "learning_rate", "param_norm", "state_mb", "tflops_per_s",
)  # fmt: skip
_SHOWN_FROM = {"data_wait": 0.1, "nonfinite": 1e-9}  # smaller values are not worth their space

_FORMATS = {
    "nonfinite": "{:.0%} of the steps skipped",
    "peak_share": "{:.0%} of peak",
    "state_mb_per_device": "{:.1f} MB state/device",
    "clips_per_s": "{:.0f} clips/s",
    "compile_s": "compiled in {:.1f} s",
    "data_wait": "{:.0%} waiting",
    "step_flops": "{:.2g} FLOPs/device",
}


def write_all(writers: Sequence[Writer], step: int, values: Mapping[str, float]) -> None:
    """Passes the numbers to every writer."""
    for writer in writers:
        writer.scalars(step, values)


def _is_before(line: str, step: int) -> bool:
    try:
        return json.loads(line)["step"] <= step
    except json.JSONDecodeError:  # the last line of a killed run
        return False
