import contextlib
import fcntl
import io
import json
import math
import pty
import re
import struct
import termios
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from vjax.training.writer import Console, JsonLines, TensorBoard, describe

TRAIN = {"train/clip@1": 0.75, "train/loss": 0.5, "train/learning_rate": 1e-3, "train/clips_per_s": 1200.0}
TEST = {"test/clip@1": 0.5, "test/video@1": 0.75, "test/video@5": 1.0, "test/loss": 1.25}
ADVICE = "reading is the bottleneck: raise num_workers; `vjax prepare` helps video files"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets: `clock.now`, in seconds."""
    clock = types.SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("vjax.text.time", clock)
    return clock


def train_for(stream, clock, *, num_steps, log_every=10, slow_s=100.0, values=TRAIN):
    """What the loop tells a console: the first step takes `slow_s`, every other one 2 s."""
    console = Console(stream, start_step=0, num_steps=num_steps)
    for step in range(1, num_steps + 1):
        clock.now += slow_s if step == 1 else 2.0
        console.advance(step)
        if step % log_every == 0:
            console.scalars(step, values)
            console.scalars(step, TEST)
            console.scalars(step, {"train/checkpoint_s": 0.1})
    console.close()


def test_json_lines_are_written_at_once(tmp_path):
    writer = JsonLines(tmp_path / "m.jsonl", start_step=0)
    writer.scalars(1, {"train/loss": 0.5})
    assert json.loads((tmp_path / "m.jsonl").read_text()) == {"step": 1, "train/loss": 0.5}


def test_a_resumed_run_drops_the_lines_it_will_write_again(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4, "tra')
    JsonLines(path, start_step=2).scalars(3, {"x": 1.0})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 1},
        {"step": 2},
        {"step": 3, "x": 1.0},
    ]


def test_tensorboard_events_hold_the_tags(tmp_path):
    writer = TensorBoard(tmp_path, start_step=0)
    writer.scalars(1, {"train/loss": 0.5})
    writer.close()
    (events,) = tmp_path.iterdir()
    assert b"train/loss" in events.read_bytes()


def test_a_pipe_gets_a_line_for_each_set_of_numbers_with_the_time_left(clock):
    stream = io.StringIO()
    train_for(stream, clock, num_steps=30)
    test = "test: clip@1 0.500  video@1 0.750  video@5 1.000  loss 1.250"
    assert stream.getvalue().splitlines() == [
        "step 10/30  clip@1 0.750  loss 0.500  1200 clips/s  0:40 left",
        f"step 10/30  {test}",
        "step 20/30  clip@1 0.750  loss 0.500  1200 clips/s  0:20 left",
        f"step 20/30  {test}",
        "step 30/30  clip@1 0.750  loss 0.500  1200 clips/s",
        f"step 30/30  {test}",
    ]


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_slow_first_steps_do_not_count_in_the_time_left(clock, stream):
    train_for(stream, clock, num_steps=100, slow_s=10_000.0)
    found = [60 * int(m) + int(s) for m, s in re.findall(r"(\d+):(\d\d) left", stream.getvalue())]
    assert found == sorted(found, reverse=True)
    assert 0 < found[0] <= 2 * 100


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_no_time_left_is_said_before_there_is_a_speed(clock, stream):
    train_for(stream, clock, num_steps=5, log_every=1)
    assert "step 4/5" in stream.getvalue()
    assert "left" not in stream.getvalue()


def shown_on_80_columns(write):
    """Returns the text that `write(stream)` shows on a terminal of 80 columns."""
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with open(reader, "rb", buffering=0) as screen, ThreadPoolExecutor(1) as pool:
        shown = pool.submit(read_to_end, screen)
        with open(terminal, "w", encoding="utf-8") as stream:
            write(stream)
        return shown.result().decode()


def read_to_end(screen):
    parts = []
    with contextlib.suppress(OSError):  # the end of a terminal is an error
        while part := screen.read(4096):
            parts.append(part)
    return b"".join(parts)


def test_a_terminal_keeps_every_line_of_numbers_above_a_bar_that_fits_80_columns(clock):
    values = TRAIN | {"train/data_wait": 0.25}
    text = shown_on_80_columns(lambda stream: train_for(stream, clock, num_steps=2000, log_every=1000, values=values))
    pieces = [piece for piece in re.split(r"[\r\n]+", text) if piece.strip()]
    bars = [piece for piece in pieces if piece.count("|") == 2]
    assert max(map(len, pieces)) <= 80
    assert all(len(bar.split("|")[1]) >= 40 for bar in bars)
    assert any(re.search(r"^ 50%.* 1000/2000 steps, 33:20 left$", bar) for bar in bars)
    assert [piece for piece in pieces if piece not in bars] == [
        "step 1000/2000  clip@1 0.750  loss 0.500  1200 clips/s  25% waiting",
        "step 1000/2000  test: clip@1 0.500  video@1 0.750  video@5 1.000  loss 1.250",
        "step 2000/2000  clip@1 0.750  loss 0.500  1200 clips/s  25% waiting",
        "step 2000/2000  test: clip@1 0.500  video@1 0.750  video@5 1.000  loss 1.250",
    ]


def test_a_resumed_run_begins_its_bar_where_it_was():
    stream = Terminal()
    console = Console(stream, start_step=20, num_steps=100)
    console.advance(60)
    console.close()
    assert "| 20/100 steps" in stream.getvalue()
    assert "| 60/100 steps" in stream.getvalue()


def test_numbers_are_described_in_their_units():
    values = {"train/data_wait": 0.25, "train/peak_share": 0.125, "train/nonfinite": 0.5, "test/video@1": 0.5}
    assert describe(values) == "25% waiting  12% of peak  50% of the steps skipped  test: video@1 0.500"
    facts = {"train/compile_s": 24.72, "train/step_flops": 1.94e9, "train/state_mb": 9.0}
    words = "compiled in 24.7 s  1.9e+09 FLOPs/device  4.5 MB state/device"
    assert describe(facts | {"train/state_mb_per_device": 4.5}) == words


def test_waiting_and_skipped_steps_are_shown_only_where_they_matter():
    assert describe({"train/data_wait": 0.05, "train/nonfinite": 0.0}) == ""
    assert describe({"train/nonfinite": 0.001}) == "0% of the steps skipped"


def test_a_number_that_is_nan_is_shown():
    assert describe({"train/loss": math.nan, "train/data_wait": math.nan}) == "loss nan  nan% waiting"


def test_the_advice_on_slow_reading_is_given_once_and_only_where_it_matters():
    stream = io.StringIO()
    console = Console(stream, start_step=0, num_steps=4)
    for step, wait in enumerate((0.1, 0.6, 0.1, 0.7), start=1):
        console.scalars(step, {"train/data_wait": wait})
    lines = stream.getvalue().splitlines()
    assert [line.startswith("step") for line in lines] == [True, True, False, True, True]
    assert lines[2] == ADVICE
    assert len(ADVICE) <= 80
