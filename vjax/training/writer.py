"""Writers of a run's numbers: JSON lines, TensorBoard events, and a terminal."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2
from tqdm import tqdm

from vjax.text import format_time, open_bar

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
            self._path.write_text("".join(line for line in lines if _is_before(line, start_step)))
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
    """A progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, stream: TextIO, *, start_step: int, num_steps: int):
        """Starts the clock and, on a terminal, opens the bar."""
        self._stream, self._num_steps = stream, num_steps
        self._start_step, self._started = start_step, time.perf_counter()
        self._bar = None
        if stream.isatty():
            self._bar = open_bar(stream, total=num_steps, done=start_step, unit="step")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Shows the numbers on a line; on a terminal, those of training in the bar."""
        words = describe(values)
        if not words:
            return
        if self._bar is None:
            self._line(f"step {step}/{self._num_steps}  {words}  {self._time_left(step)} left")
        elif any(name.startswith("test/") for name in values):
            self._line(f"step {step}  {words}")
        else:
            self._bar.set_postfix_str(words)

    def advance(self, step: int) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def close(self) -> None:
        """Closes the bar, which stays visible, and starts a new line."""
        if self._bar is not None:
            self._bar.close()

    def _line(self, text: str) -> None:
        tqdm.write(text, file=self._stream)
        self._stream.flush()

    def _time_left(self, step: int) -> str:
        per_step = (time.perf_counter() - self._started) / max(1, step - self._start_step)
        return format_time(per_step * (self._num_steps - step))


def describe(values: Mapping[str, float]) -> str:
    """Returns the numbers as one line of text: `loss 0.512  clip@1 0.873  121 clips/s`."""
    short = {name.removeprefix("train/"): value for name, value in values.items()}
    short = {name: value for name, value in short.items() if name not in _FILES_ONLY and (name != "nonfinite" or value)}
    words = "  ".join(_FORMATS.get(name, name + " {:.3f}").format(value) for name, value in short.items())
    if short.get("data_wait", 0.0) > _MUCH_WAITING:
        words += " (reading is the bottleneck: run `vjax prepare`, or raise num_workers)"
    return words


_MUCH_WAITING = 0.3  # share of the time that faster reading could save


_FILES_ONLY = ("grad_norm", "param_norm", "tflops_per_s", "device_memory_mb", "state_mb", "checkpoint_s")

_FORMATS = {
    "nonfinite": "{:.0%} of the steps skipped",
    "peak_share": "{:.0%} of the device's peak",
    "state_mb_per_device": "a state of {:.1f} MB on each device",
    "clips_per_s": "{:.0f} clips/s",
    "compile_s": "compiled in {:.1f} s",
    "data_wait": "{:.0%} waiting for data",
    "learning_rate": "lr {:.2g}",
    "step_flops": "{:.3g} FLOPs per step and device",
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
