"""A run that is cut off loses nothing."""

import json
import os
import signal
import subprocess
import time

import jax
import numpy as np
from processes import CONFIG, arguments, command
from video_files import write_folder

import vjax


def test_a_run_killed_in_the_middle_ends_with_the_parameters_of_an_uninterrupted_one(tmp_path):
    root = write_folder(tmp_path / "videos")
    words = [
        f"{CONFIG}:tiny",
        f"--config.source.root={root}",
        "--config.num_steps=16",
        "--config.network.dropout=0.5",
        "--config.mix.mixup=0.8",
        "--config.mix.cutmix=1.0",
    ]
    command("train.py", "--config", *words, "--workdir", tmp_path / "whole")

    cut = tmp_path / "cut"
    start = arguments("train.py", "--config", *words, "--workdir", cut)
    process = subprocess.Popen(**start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_step(cut / "metrics.jsonl", 7, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (cut / "result.json").exists()
    command("train.py", "--config", *words, "--workdir", cut)

    whole, again = vjax.load(tmp_path / "whole"), vjax.load(cut)
    assert int(again.state.step) == 16
    jax.tree.map(np.testing.assert_array_equal, whole.state, again.state)
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "cut")]
    assert results[0] == results[1]
    steps = [json.loads(line)["step"] for line in (cut / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


def wait_for_step(path, step, process, *, timeout_s=120):
    started = time.monotonic()
    while time.monotonic() - started < timeout_s:
        assert process.poll() is None, "the run ended before it could be killed"
        if path.exists() and f'"step": {step},' in path.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"step {step} was not reached in {timeout_s} s")
