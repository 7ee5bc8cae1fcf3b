import io

from vjax.text import Progress


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
