"""What can go wrong while a run goes on, each made to happen: one clear line, and nothing lost."""

import contextlib
import io
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import jax
import numpy as np
import pytest
from processes import CONFIG, arguments, error_line
from saved_states import saved_state
from video_files import write_folder

import vjax


def tiny(root, *overrides):
    return vjax.load_config(f"{CONFIG}:tiny", [f"--config.source.root={root}", *overrides])


def train(config, workdir):
    """Returns what a run said."""
    console = io.StringIO()
    vjax.train(config, workdir, console=console)
    return console.getvalue()


def test_a_truncated_newest_checkpoint_is_set_aside_for_the_one_before(tmp_path):
    config = tiny(write_folder(tmp_path / "videos"))
    train(config, tmp_path / "run")
    whole = saved_state(tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    for path in (tmp_path / "run" / "checkpoints" / "4").rglob("d/*"):  # where arrays are kept
        os.truncate(path, path.stat().st_size // 2)

    with pytest.raises(vjax.InputError, match=r"checkpoint .*/4 is damaged"):
        vjax.load(tmp_path / "run")
    said = train(config, tmp_path / "run")
    assert re.search(r"checkpoint .*/4 is damaged \(.*\); the checkpoint before it is used", said)
    assert "step 3/4" in said
    assert not re.search("step 2/4 .*clip@1", said)
    jax.tree.map(np.testing.assert_array_equal, whole, saved_state(tmp_path / "run"))
    assert list((tmp_path / "run" / "checkpoints").glob("damaged_4_*"))


def test_metrics_of_a_checkpoint_that_were_cut_off_do_not_stop_the_run(tmp_path):
    config = tiny(write_folder(tmp_path / "videos"))
    train(config, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    before = saved_state(tmp_path / "run")
    os.truncate(tmp_path / "run" / "checkpoints" / "4" / "metrics" / "metrics", 3)
    with pytest.raises(vjax.InputError, match=r"the metrics in .*/4/metrics are cut off; remove that folder"):
        vjax.load(tmp_path / "run")
    said = train(config, tmp_path / "run")
    assert "step 4/4  test: clip@1" in said, "it is evaluated again"
    assert "step 3/4" not in said, "the state is whole: no step is taken again"
    jax.tree.map(np.testing.assert_array_equal, before, saved_state(tmp_path / "run"))


def test_a_run_of_which_no_checkpoint_can_be_read_is_left_as_it_is(tmp_path):
    config = tiny(write_folder(tmp_path / "videos"))
    train(config, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    for path in (tmp_path / "run" / "checkpoints").rglob("d/*"):  # where arrays are kept
        os.truncate(path, path.stat().st_size // 2)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(vjax.InputError, match=r"no checkpoint .* can be read: .*/4 is damaged .*/2 is damaged"):
        train(config, tmp_path / "run")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


DIVERGES = ("--config.optimizer.learning_rate=1e30", "--config.optimizer.clip_norm=0.0", "--config.length=6")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_checkpoint_and_videos(tmp_path):
    config = tiny(write_folder(tmp_path / "videos"), *DIVERGES, "--config.checkpoint_every=1")
    message = (
        r"step (\d): the loss \(.*\) or its gradient is not finite; the newest checkpoint, of step (\d), is good. The "
        r"batch's videos: ((fall|rise)/\w+\.\w+(, )?)+\. Lower the learning rate"
    )
    with pytest.raises(vjax.InputError, match=message) as found:
        train(config, tmp_path / "run")
    step, kept = (int(group) for group in re.search(message, str(found.value)).group(1, 2))
    assert kept < step
    state = saved_state(tmp_path / "run")
    assert int(state.step) == kept
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_steps_that_are_not_finite_are_left_out_when_told_to(tmp_path):
    config = tiny(write_folder(tmp_path / "videos"), *DIVERGES, "--config.skip_nonfinite=True")
    assert "of the steps skipped" in train(config, tmp_path / "run")
    state = saved_state(tmp_path / "run")
    assert int(state.step) == 6
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def start(root, workdir, *words):
    """Starts a long run and returns it when its first checkpoint is whole."""
    config = [f"{CONFIG}:tiny", f"--config.source.root={root}", "--config.checkpoint_every=5"]
    config += ["--config.length=100000", "--config.evaluate_every=100000"]
    process = subprocess.Popen(
        **arguments("train.py", "--config", *config, *words, "--workdir", workdir),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (workdir / "checkpoints" / "5").is_dir():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def end(process, *, timeout_s=60):
    """Waits for a run that must fail, and returns its one line of error; TensorStore may print beside it."""
    _, said = process.communicate(timeout=timeout_s)
    assert process.returncode == 2, said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.slow
def test_a_work_directory_that_vanishes_ends_the_run(tmp_path):
    process = start(write_folder(tmp_path / "videos"), tmp_path / "run")
    while (tmp_path / "run").exists():
        with contextlib.suppress(OSError):  # a file is being written into it
            shutil.rmtree(tmp_path / "run")
            break
    assert re.search("removed during the run|cannot be written", end(process))


def test_a_work_directory_that_cannot_be_made_is_named(tmp_path):
    root = write_folder(tmp_path / "videos")
    (tmp_path / "file").touch()
    words = [
        "train.py",
        "--config",
        f"{CONFIG}:tiny",
        f"--config.source.root={root}",
        "--workdir",
        tmp_path / "file/run",
    ]
    done = subprocess.run(**arguments(*words), capture_output=True, text=True, timeout=120, check=False)
    assert "Not a directory" in error_line(done)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 KB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_keeps_the_checkpoint_before(tmp_path, small_disk):
    process = start(write_folder(tmp_path / "videos"), small_disk / "run")
    assert "No space left on device" in end(process, timeout_s=300)
    newest = max(int(path.name) for path in (small_disk / "run" / "checkpoints").iterdir() if path.name.isdigit())
    shutil.copytree(small_disk / "run", tmp_path / "run")
    state = saved_state(tmp_path / "run")
    assert int(state.step) == newest
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def worker_of(process):
    """The process id of what reads videos for a run."""
    found = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", "spawn_main"], capture_output=True, text=True, check=True
    )
    return int(found.stdout.split()[0])


def is_alive(pid):
    status = pathlib.Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] not in "ZX"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (signal.SIGKILL, r"a process that reads videos has died .*exit code -9"),
        (signal.SIGSTOP, r"no batch came for 5 s: reading is stuck"),
    ],
)
def test_a_reader_that_dies_or_hangs_ends_the_run_in_time(tmp_path, fault, message):
    words = ["--config.num_workers=1", "--config.data_timeout_s=5"]
    process = start(write_folder(tmp_path / "videos"), tmp_path / "run", *words)
    worker = worker_of(process)
    os.kill(worker, fault)
    assert re.search(message, end(process))
    assert not is_alive(worker), "it was left behind"
