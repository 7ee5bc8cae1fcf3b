"""A run that is cut off loses nothing."""

import dataclasses
import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

import jax
import numpy as np
import pytest
from processes import CONFIG, arguments, command
from saved_states import saved_state
from video_files import write_folder

import vjax
from vjax.training.loop import Interrupted


def test_a_run_killed_in_the_middle_ends_with_the_parameters_of_an_uninterrupted_one(tmp_path):
    root = write_folder(tmp_path / "videos")
    words = [
        f"{CONFIG}:tiny",
        f"--config.source.root={root}",
        "--config.length=16",
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


@pytest.mark.slow
def test_twenty_kills_at_random_moments_leave_the_run_as_if_there_were_none(tmp_path):
    """A checkpoint a step, so that many of the kills fall into the writing of one."""
    root = write_folder(tmp_path / "videos")
    words = [f"{CONFIG}:tiny", f"--config.source.root={root}", "--config.length=600", "--config.network.dropout=0.5"]
    words += ["--config.evaluate_every=1000"]
    command("train.py", "--config", *words, "--config.checkpoint_every=1000", "--workdir", tmp_path / "whole")
    words += ["--config.checkpoint_every=1"]
    cut, rng, reached = tmp_path / "cut", random.Random(0), [0]
    for _ in range(20):
        start = arguments("train.py", "--config", *words, "--workdir", cut)
        process = subprocess.Popen(**start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if rng.random() < 0.3:  # while it starts, or soon after
            wait_for_checkpoint(cut, reached[-1] + 8, process, timeout_s=rng.uniform(0.5, 6))
        else:
            wait_for_checkpoint(cut, reached[-1] + rng.randint(1, 8), process, timeout_s=120)
            time.sleep(rng.uniform(0, 0.2))
        process.kill()
        process.wait()
        reached.append(newest_checkpoint(cut))
    assert reached == sorted(reached), "a kill has cost a checkpoint that was whole"
    assert 20 < reached[-1] < 300, "the kills were to come in the middle"
    command("train.py", "--config", *words, "--workdir", cut)
    whole, again = vjax.load(tmp_path / "whole"), vjax.load(cut)
    assert int(again.state.step) == 600
    jax.tree.map(np.testing.assert_array_equal, whole.state, again.state)


def newest_checkpoint(workdir):
    return max((int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()), default=0)


def wait_for_checkpoint(workdir, step, process, *, timeout_s):
    started = time.monotonic()
    while newest_checkpoint(workdir) < step and time.monotonic() - started < timeout_s:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)


def test_a_run_asked_to_stop_saves_its_state_and_asks_to_be_started_again(tmp_path):
    root = write_folder(tmp_path / "videos")
    words = [f"{CONFIG}:tiny", f"--config.source.root={root}", "--config.checkpoint_every=1000"]
    start = arguments("train.py", "--config", *words, "--config.length=100000", "--workdir", tmp_path / "run")
    process = subprocess.Popen(**start, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for_step(tmp_path / "run" / "metrics.jsonl", 3, process)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75
    (step,) = re.findall(r"stopped after step (\d+), which is saved; the same command continues", said)
    assert (tmp_path / "run" / "checkpoints" / step).is_dir()
    assert int(step) < 1000


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A run of four steps with two batches to validate and two to test on: (config, workdir, result)."""
    base = tmp_path_factory.mktemp("uninterrupted")
    root = write_folder(base / "videos", groups=[f"{number:02}" for number in range(40)])
    config = vjax.load_config(f"{CONFIG}:tiny", [f"--config.source.root={root}", "--config.val_share=0.2"])
    return config, base / "run", vjax.train(config, base / "run", console=io.StringIO())


@pytest.mark.parametrize(("question", "step"), [(3, 2), (6, 4), (7, 4)])
def test_a_run_asked_to_stop_while_it_evaluates_saves_at_once_and_evaluates_when_it_goes_on(
    tmp_path, uninterrupted, question, step
):
    """Asked after each of four steps, and between the two batches of each of three evaluations."""
    config, whole, result = uninterrupted
    questions = itertools.count(1)
    with pytest.raises(Interrupted, match=f"stopped after step {step}, which is saved"):
        vjax.train(config, tmp_path / "cut", console=io.StringIO(), should_stop=lambda: next(questions) == question)
    assert vjax.train(config, tmp_path / "cut", console=io.StringIO()) == result
    lines = [
        [
            (line["step"], key, line[key])
            for line in map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
            for key in ("val/loss", "test/loss")
            if key in line
        ]
        for workdir in (whole, tmp_path / "cut")
    ]
    assert lines[0] == lines[1]
    states = [saved_state(workdir) for workdir in (whole, tmp_path / "cut")]
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_a_run_goes_on_with_other_keys_that_change_no_result(tmp_path, uninterrupted):
    config, whole, result = uninterrupted
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "4")
    other = {
        "data_timeout_s": 7.0,
        "skip_nonfinite": True,
        "sharding": "fsdp",
        "evaluate_every": 3,
        "checkpoint_every": 1,
    }
    again = vjax.train(dataclasses.replace(config, **other), tmp_path / "run", console=io.StringIO())
    assert again["loss"] == pytest.approx(result["loss"])
    assert without_probabilities(again) == without_probabilities(result)
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert kept.items() >= other.items()


def without_probabilities(result):
    """A result without the numbers that rounding changes."""
    rounded = {"loss": 0, "calibration_error": 0, "reliability": [], "temperature": 0, "calibrated_error": 0}
    return result | rounded | {"wrong": sorted(video["name"] for video in result["wrong"])}


def wait_for_step(path, step, process, *, timeout_s=120):
    started = time.monotonic()
    while time.monotonic() - started < timeout_s:
        assert process.poll() is None, "the run ended before it could be killed"
        if path.exists() and f'"step": {step},' in path.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"step {step} was not reached in {timeout_s} s")
