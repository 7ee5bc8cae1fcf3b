import io
import re
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjax.text import Progress, compact, format_time, printable, shorten, visible, wrap


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_pipe_gets_the_first_and_the_last_line_and_not_one_for_each():
    stream = io.StringIO()
    with Progress(stream, unit="video") as progress:
        for done in range(0, 101, 10):
            progress.advance(done, 100)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "0 of 100 videos"
    assert lines[-1] == "100 of 100 videos"
    assert len(lines) < 5


def test_a_terminal_gets_a_bar_that_begins_where_the_work_begins():
    stream = Terminal()
    with Progress(stream, unit="video") as progress:
        progress.advance(40, 100)
        progress.advance(100, 100)
    assert "100/100" in stream.getvalue()
    assert "40/100" in stream.getvalue()


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets: `clock.now`, in seconds."""
    clock = types.SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("vjax.text.time", clock)
    return clock


def test_the_time_left_counts_neither_the_wait_before_the_first_item_nor_items_done_earlier(clock):
    stream = io.StringIO()
    with Progress(stream, unit="video") as progress:
        clock.now += 1000.0
        for done in (50, 60, 70, 100):
            progress.advance(done, 100)
            clock.now += 20.0
    assert re.findall(r"(?<=, ).* left", stream.getvalue()) == ["1:20 left", "1:00 left"]


def advance_by(clock, stream, seconds):
    """What a job of four items shows that takes some seconds for each, and may be quiet for one second."""
    with Progress(stream, unit="video", job="indexing", quiet_s=1.0) as progress:
        for done in range(5):
            progress.advance(done, 4)
            clock.now += seconds
    return stream.getvalue()


@pytest.mark.parametrize("make", [io.StringIO, Terminal])
def test_a_job_that_ends_in_its_quiet_time_shows_nothing(clock, make):
    assert advance_by(clock, make(), 0.2) == ""


def test_a_longer_job_shows_its_name_from_the_end_of_its_quiet_time_on(clock):
    assert advance_by(clock, io.StringIO(), 0.6).splitlines() == [
        "indexing: 2 of 4 videos, 0:01 left",
        "indexing: 4 of 4 videos",
    ]
    shown = advance_by(clock, Terminal(), 0.6)
    assert "indexing:  50%|" in shown
    assert "1/4" not in shown
    assert "4/4 videos" in shown


@given(st.integers(0, 10**6))
def test_a_time_reads_back_as_its_seconds(seconds):
    parts = format_time(seconds).split(":")
    assert sum(int(part) * 60**power for power, part in enumerate(reversed(parts))) == seconds
    assert all(len(part) == 2 for part in parts[1:])
    assert len(parts) == (3 if seconds >= 3600 else 2)


@given(st.text("ab ", min_size=1).filter(str.strip), st.integers(12, 40), st.integers(0, 8))
def test_wrapping_keeps_the_words_and_the_columns(text, width, hang):
    lines = wrap(text, width=width, hang=hang).splitlines()
    assert " ".join(lines).split() == text.split()
    assert all(len(line) <= width or " " not in line.strip() for line in lines)
    assert all(line.startswith(" " * hang) for line in lines[1:])


def test_a_path_is_not_cut_by_wrapping():
    assert wrap("see /a/long-path/of-a/video.mp4 there", width=12) == "see\n/a/long-path/of-a/video.mp4\nthere"


@given(st.integers(0, 10**14))
def test_a_compact_number_has_three_digits_and_is_near(number):
    digits, _, prefix = compact(number).partition(" ")
    assert float(digits) * 1000 ** " kMGT".index(prefix or " ") == pytest.approx(number, rel=0.006)
    assert len(digits) <= 5 or prefix == "T"


def test_a_text_is_shortened_only_if_it_is_too_long():
    assert shorten("walking", 7) == "walking"
    assert shorten("walking", 6) == "wal..."


def test_bytes_of_a_name_that_cannot_be_printed_are_escapes():
    assert printable("a\udcffé") == "a\\udcffé"


@given(st.text())
def test_a_visible_text_is_one_line_that_a_terminal_only_prints(text):
    assert visible(text).isprintable()
    assert not text.isprintable() or visible(text) == text
