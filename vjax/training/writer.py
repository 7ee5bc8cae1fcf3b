"""Where a run's numbers go: JSON lines, TensorBoard events, and a terminal."""

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

_PROTO: Any = event_pb2  # its classes are made at run time


class Writer(Protocol):
    """Takes numbers by step."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Takes numbers by name."""

    def advance(self, step: int) -> None:
        """Hears that a step was taken."""

    def close(self) -> None:
        """Writes what is left."""


class JsonLines:
    """One JSON object a line: `{"step": 100, "train/loss": 0.5}`."""

    def __init__(self, path: str | Path, *, start_step: int):
        """Opens the file; lines past `start_step` are of steps that will be taken again, and are dropped."""
        self._path = Path(path)
        if self._path.exists():
            lines = self._path.read_text().splitlines(keepends=True)
            self._path.write_text("".join(line for line in lines if _is_before(line, start_step)))
        self._stream = self._path.open("a")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes a line, at once."""
        self._stream.write(json.dumps({"step": step, **values}) + "\n")
        self._stream.flush()

    def advance(self, step: int) -> None:
        """Writes nothing."""

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()


class TensorBoard:
    """Event files for TensorBoard, written without TensorFlow.

    Written by this thread, not by tensorboardX's own: where the disk is full that one dies, and whoever hands it
    more waits for ever.
    """

    def __init__(self, directory: str | Path, *, start_step: int):
        """Opens a new event file; TensorBoard then ignores older events past `start_step`."""
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
        """Writes nothing."""

    def close(self) -> None:
        """Writes what is left."""
        self._events.close()


class Console:
    """A progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, stream: TextIO, *, start_step: int, num_steps: int):
        """Starts the clock; nothing is shown before the first numbers."""
        self._stream, self._num_steps = stream, num_steps
        self._start_step, self._started = start_step, time.perf_counter()
        self._bar = None
        if stream.isatty():
            self._bar = open_bar(stream, total=num_steps, done=start_step, unit="step")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Shows the numbers: those of training in the bar, those of evaluation on a line that stays."""
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
        """Leaves the bar as it is and goes to a new line."""
        if self._bar is not None:
            self._bar.close()

    def _line(self, text: str) -> None:
        tqdm.write(text, file=self._stream)
        self._stream.flush()

    def _time_left(self, step: int) -> str:
        per_step = (time.perf_counter() - self._started) / max(1, step - self._start_step)
        return format_time(per_step * (self._num_steps - step))


def describe(values: Mapping[str, float]) -> str:
    """Returns numbers in a line: `loss 0.512  clip@1 0.873  121 clips/s`."""
    short = {name.removeprefix("train/"): value for name, value in values.items()}
    short = {name: value for name, value in short.items() if name not in _FILES_ONLY and (name != "nonfinite" or value)}
    words = "  ".join(_FORMATS.get(name, name + " {:.3f}").format(value) for name, value in short.items())
    if short.get("data_wait", 0.0) > _MUCH_WAITING:
        words += " (reading is the bottleneck: `vjax prepare` the videos, or raise num_workers)"
    return words


_MUCH_WAITING = 0.3  # of a step: what faster reading could save


_FILES_ONLY = ("grad_norm", "param_norm", "tflops_per_s", "device_memory_mb", "state_mb", "checkpoint_s")

_FORMATS = {
    "nonfinite": "{:.0%} of the steps left out",
    "peak_share": "{:.0%} of the device's peak",
    "state_mb_per_device": "a state of {:.1f} MB on each device",
    "clips_per_s": "{:.0f} clips/s",
    "compile_s": "compiled in {:.1f} s",
    "data_wait": "{:.0%} waiting for data",
    "learning_rate": "lr {:.2g}",
    "step_flops": "{:.3g} FLOPs a step and device",
}


def write_all(writers: Sequence[Writer], step: int, values: Mapping[str, float]) -> None:
    """Gives the numbers to every writer."""
    for writer in writers:
        writer.scalars(step, values)


def _is_before(line: str, step: int) -> bool:
    try:
        return json.loads(line)["step"] <= step
    except json.JSONDecodeError:  # the last line of a killed run
        return False
