"""The commands of vjax: as processes, on one device, whatever the test session simulates, or within the test."""

import contextlib
import io
import os
import pathlib
import subprocess
import sys

from vjax.cli.main import main, train_main

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = ROOT / "configs/folder.py"


def arguments(*words):
    """Returns what starts `train.py` or `vjax` of this checkout."""
    front = [str(ROOT / "train.py")] if words[0] == "train.py" else ["-m", "vjax"]
    return {
        "args": [sys.executable, *front, *map(str, words[1:])],
        "cwd": ROOT,
        "env": {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"},
    }


def command(*words, check=True):
    """Runs a command to its end."""
    done = subprocess.run(**arguments(*words), capture_output=True, text=True, timeout=300)
    assert not check or done.returncode == 0, done.stderr
    return done


def in_this_process(*words):
    """Runs a command here: what `command` returns, without the seconds that starting Python takes."""
    front = train_main if words[0] == "train.py" else main
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = front([str(word) for word in words[1:]])
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def unwrapped(text):
    """Returns a text without its line breaks."""
    return " ".join(text.split())


def error_line(done):
    """Returns the one line that a failed command shows; there must be no traceback."""
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert line.startswith("error: ")
    return line
