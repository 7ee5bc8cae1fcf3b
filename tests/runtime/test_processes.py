"""Several processes of one run."""

import os
import re
import signal
import socket
import subprocess
import time

import chex
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import CONFIG, arguments, command, error_line
from saved_states import saved_state
from video_files import write_folder

from vjax.runtime.processes import in_cluster


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, True),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, False),
        ({"SLURM_NTASKS": "4"}, False),  # a shell of salloc, not a task of srun
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, True),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
    ],
)
def test_a_process_knows_from_its_environment_whether_it_is_one_of_several(environment, expected):
    assert in_cluster(environment) is expected


@given(st.text(max_size=4).filter(lambda text: not text.isdecimal()))
def test_a_count_that_is_no_number_is_not_taken_for_one(count):
    assert in_cluster({"SLURM_NTASKS": count, "SLURM_PROCID": "0"}) is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--coordinator=localhost:1"], "go together; missing: --num_processes, --process_id"),
        (["--coordinator=localhost:1", "--num_processes=2", "--process_id=2"], r"\[0, --num_processes=2\), got 2"),
        (["--coordinator=auto", "--num_processes=2"], "go together; missing: --process_id"),
        (["--coordinator=auto"], "does not say where the first one is .*; give --coordinator"),
        (["--coordinator=localhost", "--num_processes=2", "--process_id=0"], "HOST:PORT of process 0, got 'localhost'"),
    ],
)
def test_flags_that_do_not_fit_together_are_explained(tmp_path, words, message):
    done = command("train.py", "--config", f"{CONFIG}:tiny", *words, "--workdir", tmp_path / "run", check=False)
    assert re.search(message, error_line(done))


def test_a_scheduler_that_does_not_say_where_the_first_process_is_leads_to_the_flags(tmp_path):
    call = arguments("train.py", "--config", f"{CONFIG}:tiny", "--workdir", tmp_path / "run")
    call["env"] = call["env"] | {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}
    done = subprocess.run(**call, capture_output=True, text=True, timeout=120, check=False)
    assert re.search("does not say where the first one is .*; give --coordinator", error_line(done))


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def by_flags(index, num_processes, port):
    return [f"--coordinator=localhost:{port}", f"--num_processes={num_processes}", f"--process_id={index}"], {}


def by_slurm(index, num_processes, port):
    """What srun tells its tasks; JAX derives the port from the job's number."""
    variables = {
        "SLURM_JOB_ID": str(port), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": str(num_processes),
        "SLURM_PROCID": str(index), "SLURM_LOCALID": str(index),
    }  # fmt: skip
    return [], variables


def by_what_jax_knows(index, num_processes, port):
    """As on a Cloud TPU pod, where no variable tells."""
    return ["--coordinator=auto"], by_slurm(index, num_processes, port)[1]


def by_open_mpi(index, num_processes, port):
    """What mpirun 4 tells its processes."""
    variables = {
        "OMPI_MCA_orte_hnp_uri": f"{port << 12}.0;tcp://127.0.0.1:1", "OMPI_COMM_WORLD_SIZE": str(num_processes),
        "OMPI_COMM_WORLD_RANK": str(index), "OMPI_COMM_WORLD_LOCAL_RANK": str(index),
    }  # fmt: skip
    return [], variables


def start(words, workdir, *, num_processes, devices, told=by_flags):
    """Starts every process of a run."""
    port, started = free_port(), []
    for index in range(num_processes):
        flags, variables = told(index, num_processes, port) if num_processes > 1 else ([], {})
        call = arguments("train.py", "--config", *words, *flags, "--workdir", workdir)
        variables["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
        call["env"] = call["env"] | variables
        started.append(subprocess.Popen(**call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    return started


def end(processes, *, timeout_s=240):
    """Returns exit codes and what each said."""
    said = [process.communicate(timeout=timeout_s) for process in processes]
    return [process.returncode for process in processes], ["".join(pair) for pair in said]


@pytest.mark.slow
def test_two_processes_of_two_devices_train_as_one_of_four_and_any_number_resumes(tmp_path):
    words = [f"{CONFIG}:tiny", f"--config.source.root={write_folder(tmp_path / 'videos')}", "--config.length=6"]
    words += ["--config.network.dropout=0.5", "--config.sharding=fsdp"]
    for name, num_processes, devices in (("one", 1, 4), ("two", 2, 2)):
        codes, said = end(start(words, tmp_path / name, num_processes=num_processes, devices=devices))
        assert set(codes) == {0}, said
    states = [saved_state(tmp_path / name) for name in ("one", "two")]
    chex.assert_trees_all_close(*states, rtol=1e-4, atol=1e-5)
    assert "video@1" in said[0]
    assert "video@1" not in said[1], "one process alone writes tables"

    # The second half again, on one process of one device.
    (tmp_path / "two" / "result.json").unlink()
    for step in (tmp_path / "two" / "checkpoints").iterdir():
        if int(step.name) > 4:
            for path in sorted(step.rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
            step.rmdir()
    codes, said = end(start(words, tmp_path / "two", num_processes=1, devices=1))
    assert codes == [0], said
    assert "step 5/6" in said[0]
    assert not re.search("step 4/6 .*clip@1", said[0])
    chex.assert_trees_all_close(states[0], saved_state(tmp_path / "two"), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("told", [by_slurm, by_open_mpi, by_what_jax_knows])
def test_processes_that_a_scheduler_starts_find_each_other(tmp_path, told):
    words = [f"{CONFIG}:tiny", f"--config.source.root={write_folder(tmp_path / 'videos')}"]
    codes, said = end(start(words, tmp_path / "run", num_processes=2, devices=1, told=told))
    assert codes == [0, 0], said
    assert ["video@1" in text for text in said] == [True, False]


def long_run(tmp_path, *, evaluate_every=100_000):
    """With 16 videos to test on, two batches."""
    root = write_folder(tmp_path / "videos", groups=[f"{number:02}" for number in range(40)])
    words = [f"{CONFIG}:tiny", f"--config.source.root={root}", f"--config.evaluate_every={evaluate_every}"]
    words += ["--config.length=100000", "--config.checkpoint_every=5"]
    processes = start(words, tmp_path / "run", num_processes=2, devices=1)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoints" / "10").is_dir():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes), end(processes)
        time.sleep(0.05)
    return processes


@pytest.mark.slow
@pytest.mark.parametrize("dies", [0, 1])
def test_a_process_whose_peer_dies_stops_with_a_clear_line(tmp_path, dies):
    processes = long_run(tmp_path)
    os.kill(processes[dies].pid, signal.SIGKILL)
    codes, said = end(processes, timeout_s=120)
    survivor = 1 - dies
    assert codes[dies] == -9, said
    # Where JAX's own service notices first, it ends the process before Python can say anything.
    assert codes[survivor] in (75, -signal.SIGABRT), said
    by_whom = {75: "another process of this run has died", -signal.SIGABRT: "JAX distributed service"}
    assert by_whom[codes[survivor]] in said[survivor]
    assert "Traceback" not in said[survivor]


@pytest.mark.slow
def test_what_the_first_process_cannot_do_ends_all_with_a_clear_line(tmp_path):
    words = [f"{CONFIG}:tiny", "--config.source.root=nowhere"]
    codes, said = end(start(words, tmp_path / "run", num_processes=2, devices=1))
    assert codes == [2, 2], said
    assert "'nowhere' does not exist" in said[0]
    assert "process 0 failed; its log gives the reason" in said[1]
    assert not any("Traceback" in text for text in said)


@pytest.mark.slow
@pytest.mark.parametrize("evaluate_every", [1, 100_000])
def test_sigterm_to_one_process_saves_and_stops_all_after_the_same_step(tmp_path, evaluate_every):
    processes = long_run(tmp_path, evaluate_every=evaluate_every)
    os.kill(processes[1].pid, signal.SIGTERM)
    codes, said = end(processes, timeout_s=120)
    assert codes == [75, 75], said
    steps = [re.findall(r"stopped after step (\d+), which is saved", text) for text in said]
    assert steps[0] == steps[1]
    (step,) = steps[0]
    assert (tmp_path / "run" / "checkpoints" / step).is_dir()
    state = saved_state(tmp_path / "run")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


@pytest.mark.slow
@pytest.mark.parametrize("damaged", ["**/d/*", "**/ocdbt.process_1/d/*"])
def test_all_processes_set_a_damaged_checkpoint_aside_whoever_reads_the_damage(tmp_path, damaged):
    words = [f"{CONFIG}:tiny", f"--config.source.root={write_folder(tmp_path / 'videos')}", "--config.sharding=fsdp"]
    codes, said = end(start(words, tmp_path / "run", num_processes=2, devices=1))
    assert codes == [0, 0], said
    whole = saved_state(tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    files = list((tmp_path / "run" / "checkpoints" / "4").glob(damaged))
    assert files
    for path in files:
        os.truncate(path, path.stat().st_size // 2)
    codes, said = end(start(words, tmp_path / "run", num_processes=2, devices=1))
    assert codes == [0, 0], said
    assert "the checkpoint before it is used" in said[0]
    chex.assert_trees_all_close(whole, saved_state(tmp_path / "run"), rtol=1e-4, atol=1e-5)
