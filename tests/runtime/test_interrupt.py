"""Ctrl-C, as a terminal sends it."""

import os
import signal
import subprocess
import sys
import time

import pytest
from processes import CONFIG, arguments

LINE = "interrupted; the same command continues a training run from its newest checkpoint"


@pytest.fixture(autouse=True)
def _sigint():
    """SIGINT as a terminal has it; a shell's background jobs ignore it, and so do the processes that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt(process, *, after_s):
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGINT)
    asked = time.monotonic()
    error = process.communicate(timeout=60)[1]
    return process.returncode, error.splitlines(), time.monotonic() - asked


def start(code):
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True)


def test_a_keyboard_interrupt_that_is_swallowed_ends_the_process_all_the_same():
    code = """
import time
from vjax.runtime.interrupt import raise_on_interrupt
raise_on_interrupt()
while True:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        pass
"""
    returncode, lines, seconds = interrupt(start(code), after_s=3)
    assert (returncode, lines) == (130, [LINE])
    assert seconds < 10


def test_an_import_is_interrupted_without_an_exception():
    code = """
import time
from vjax.runtime.interrupt import leave_on_interrupt
leave_on_interrupt()
try:
    time.sleep(60)
except BaseException:
    raise ImportError("as an extension does") from None
"""
    returncode, lines, _ = interrupt(start(code), after_s=3)
    assert (returncode, lines) == (130, [LINE])


def test_a_job_that_ignores_ctrl_c_still_does():
    code = """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from vjax.runtime.interrupt import leave_on_interrupt, raise_on_interrupt
leave_on_interrupt()
raise_on_interrupt()
os.kill(os.getpid(), signal.SIGINT)
"""
    process = start(code)
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.3, 0.6, 1, 1.5, 2, 3, 4.5, 6, 9])
def test_ctrl_c_ends_training_at_any_moment_with_one_line(tmp_path, after_s):
    words = ["--config", CONFIG.with_name("quickstart.py"), f"--config.source.data_dir={tmp_path}"]
    started = arguments("train.py", *words, "--workdir", tmp_path / "run")
    process = subprocess.Popen(**started, stderr=subprocess.PIPE, text=True, start_new_session=True)
    returncode, lines, seconds = interrupt(process, after_s=after_s)
    assert returncode == 130
    assert [line for line in lines if "step" not in line and "made" not in line][-1] == LINE
    assert not any("Traceback" in line for line in lines)
    assert seconds < 10


@pytest.mark.parametrize("takes_time", [False, True])
def test_a_command_that_ends_by_ctrl_c_may_take_its_time(takes_time):
    code = """
import time
from vjax.runtime.interrupt import raise_on_interrupt, take_time_to_end
raise_on_interrupt()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    {end}
    time.sleep(4)
print("ended")
"""
    code = code.format(end="take_time_to_end()" if takes_time else "pass")
    words = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    process = subprocess.Popen([sys.executable, "-c", code], **words)
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert ("ended" in printed, process.returncode) == ((True, 0) if takes_time else (False, 130))
