"""`vjax predict` on streams."""

import csv
import json
import os
import re
import signal
import subprocess
import threading

import pytest
from processes import arguments, error_line, in_this_process, unwrapped

from vjax.cli import stream as stream_command

LIMITS = ["--enter", "0.01", "--leave", "0.005", "--min-length", "0"]


def write_into(pipe, content, *, hold=None):
    """Makes a named pipe, and writes bytes into it from a thread, which holds it open until an event is set."""

    def write():
        with pipe.open("wb") as opened:
            opened.write(content)
            opened.flush()
            if hold is not None:
                hold.wait(60)

    os.mkfifo(pipe)
    threading.Thread(target=write, daemon=True).start()


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_video_through_a_pipe_gives_the_windows_and_segments_of_its_timeline(run_of_levels, tmp_path):
    base, out = run_of_levels, tmp_path / "out"
    write_into(tmp_path / "pipe", (base / "long.mkv").read_bytes())
    done = in_this_process("vjax", "predict", base / "run", tmp_path / "pipe", "--timeline", out, *LIMITS)
    assert done.returncode == 0, done.stderr
    of_file = in_this_process("vjax", "predict", base / "run", base / "long.mkv", "--timeline", out, *LIMITS)
    (folder,) = [path for path in out.iterdir() if path.name != "long"]
    streamed, expected = rows_of(folder / "probs.csv"), rows_of(out / "long/probs.csv")
    assert len(streamed) == len(expected) > 5
    for found, wanted in zip(streamed, expected, strict=True):
        assert {key: float(found[key]) for key in wanted} == {
            key: pytest.approx(float(value), abs=2e-3) for key, value in wanted.items()
        }
    segments = json.loads((folder / "segments.json").read_text())["segments"]
    assert len(segments) == len(rows_of(folder / "segments.csv")) == len(of_file.stdout.splitlines()) - 1
    assert (folder / "segments.srt").read_text().count("-->") == len(segments)
    lines = done.stdout.splitlines()
    assert len(lines) == len(segments)
    assert all(
        re.search(r"^0:\d\d to 0:\d\d  (fall|rise) [01]\.\d\d  \([\d.]+ s after its end\)$", line)
        for line in lines[:-1]
    )
    assert "after its end" not in lines[-1], "the last segment ends with the stream"
    assert re.search(
        rf"pipe: 0:10 of video, {len(streamed)} windows, {len(segments)} segments?; 0 of \d+ frames dropped; in ",
        unwrapped(done.stderr),
    )


def test_standard_input_is_read_by_a_process(run_of_levels):
    with (run_of_levels / "long.mkv").open("rb") as stream:
        words = arguments("vjax", "predict", run_of_levels / "run", "-", *LIMITS)
        done = subprocess.run(**words, stdin=stream, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "standard input: 0:10 of video" in unwrapped(done.stderr)
    assert done.stdout.splitlines()


def test_a_stream_that_stalls_ends_with_one_line_and_keeps_what_it_has(run_of_levels, tmp_path):
    content, ended = (run_of_levels / "long.mkv").read_bytes(), threading.Event()
    write_into(tmp_path / "pipe", content[: len(content) * 3 // 4], hold=ended)
    out = tmp_path / "out"
    words = [run_of_levels / "run", tmp_path / "pipe", "--timeline", out, "--stall", "1", *LIMITS]
    done = in_this_process("vjax", "predict", *words)
    ended.set()
    assert done.returncode == 2
    assert "pipe: stalls; no frame came for 1 s" in done.stderr
    (folder,) = out.iterdir()
    assert len(rows_of(folder / "probs.csv")) > 3
    assert len(done.stdout.splitlines()) == len(rows_of(folder / "segments.csv")) > 0


def test_ctrl_c_ends_a_stream_with_its_last_segment_and_its_numbers(run_of_levels, tmp_path):
    ended = threading.Event()
    write_into(tmp_path / "pipe", (run_of_levels / "long.mkv").read_bytes()[:-2000], hold=ended)
    out = tmp_path / "out"
    words = arguments("vjax", "predict", run_of_levels / "run", tmp_path / "pipe", "--timeline", out, *LIMITS)
    process = subprocess.Popen(**words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None and not any(len(rows_of(path)) > 3 for path in out.glob("*/probs.csv")):
            threading.Event().wait(0.05)
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=60)
    finally:
        process.kill()
        ended.set()
    assert process.returncode == 0, said
    assert "stopped" in said
    assert "of video" in unwrapped(said)
    assert len(printed.splitlines()) == len(rows_of(next(out.glob("*/segments.csv")))) > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["http://me:pw@127.0.0.1/x.mp4"], "http://127.0.0.1/x.mp4 is an address; give --allow-url to open it"),
        (["gopher://x", "--allow-url"], "gopher://x: addresses begin with one of http://"),
        (["/dev/null", "other.mp4"], "/dev/null is a stream, which is predicted alone"),
        (["/dev/null", "--json"], "/dev/null is a stream; leave out --json, --clips, --out and --annotate"),
        (["/dev/null", "--stall", "0"], "--stall must be above 0 seconds, got 0"),
        (["/dev/null", "--hop", "0"], "a window must move by 1 frame or more, got 0"),
        (["/dev/null", "--leave", "2"], "segments need 0 < leave <= enter <= 1"),
        (["/dev/null"], "/dev/null: no video can be opened"),
        (["x.mp4", "--stall", "3"], "--stall belongs to a stream"),
    ],
)
def test_what_does_not_fit_a_stream_is_explained(run_of_levels, words, message):
    done = in_this_process("vjax", "predict", run_of_levels / "run", *words)
    assert done.returncode == 2
    assert message in unwrapped(done.stderr)


def test_a_terminal_as_standard_input_is_refused(run_of_levels, monkeypatch):
    monkeypatch.setattr(stream_command, "is_terminal", lambda: True)
    done = in_this_process("vjax", "predict", run_of_levels / "run", "-")
    assert error_line(done) == "error: standard input is a terminal; pipe a video into this command"


def test_a_closed_standard_input_is_refused(run_of_levels, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    done = in_this_process("vjax", "predict", run_of_levels / "run", "-")
    assert error_line(done) == "error: standard input is closed; pipe a video into this command"
