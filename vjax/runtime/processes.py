"""The processes of one run: how they connect, and how they are asked to stop."""

import itertools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import jax
from jax.experimental import multihost_utils

from vjax.errors import InputError

_HEARTBEAT_S = 30  # a process without a heartbeat for this long counts as dead

# Environment variables with the number of processes and the index of this one; JAX reads the same variables.
_RANKS = {"SLURM_NTASKS": "SLURM_PROCID", "OMPI_COMM_WORLD_SIZE": "OMPI_COMM_WORLD_RANK"}
_TPU_HOSTS = "TPU_WORKER_HOSTNAMES"

_AUTO = "auto"  # instead of a coordinator's address


def join_processes(*, coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Connects this process to the others of its run, named by the arguments or by the scheduler's environment.

    Slurm, Open MPI and multi-host TPUs on Kubernetes are recognised by their environment. A single process connects to
    nothing.

    Args:
      coordinator: `HOST:PORT` of process 0, reachable from all processes; "auto" if JAX can find the others by itself,
        as on a Cloud TPU pod, where it reads the machine's metadata.
      num_processes: number of processes of the run.
      process_id: index of this process, from 0.

    Raises:
      InputError: only some of the arguments are given, one is out of its range, or the environment does not say where
        process 0 is.
    """
    given = {"--coordinator": coordinator, "--num_processes": num_processes, "--process_id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if coordinator is not None and num_processes is not None and process_id is not None:
        if not 0 <= process_id < num_processes:
            raise InputError(f"--process_id must lie in [0, --num_processes={num_processes}), got {process_id}")
        if not coordinator.rpartition(":")[2].isdigit() or ":" not in coordinator:
            raise InputError(f"--coordinator is HOST:PORT of process 0, got {coordinator!r}")
        _initialize(
            coordinator_address=coordinator,
            num_processes=num_processes,
            process_id=process_id,
            cluster_detection_method="deactivate",
        )
    elif coordinator == _AUTO and num_processes is None and process_id is None:
        _find_others()
    elif len(missing) < len(given):
        raise InputError(f"--coordinator, --num_processes and --process_id go together; missing: {', '.join(missing)}")
    elif in_cluster(os.environ):
        _find_others()


def _find_others() -> None:
    try:
        _initialize()
    except ValueError as error:  # Open MPI 5, for example, does not set the address
        raise InputError(
            f"this process is one of several, but its environment does not say where the first one is ({error}); "
            "give --coordinator, --num_processes and --process_id"
        ) from error


def in_cluster(environment: Mapping[str, str]) -> bool:
    """Returns whether a scheduler started this process as one of several."""
    counts = [environment[count] for count, rank in _RANKS.items() if count in environment and rank in environment]
    return any(count.isdecimal() and int(count) > 1 for count in counts) or "," in environment.get(_TPU_HOSTS, "")


def _initialize(**kwargs: Any) -> None:
    jax.distributed.initialize(heartbeat_timeout_seconds=_HEARTBEAT_S, shutdown_timeout_seconds=60, **kwargs)


def leave(code: int) -> NoReturn:
    """Exits this process; after a failure, kills its children and exits without cleanup.

    So a failed process does not wait for a stuck reader, a write to a full disk, or peers that have died.
    """
    if code == 0:
        sys.exit()
    for child in multiprocessing.active_children():
        child.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def stop_signal() -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether SIGTERM was received; schedulers send it before they kill.

    With several processes it asks JAX's preemption service, which makes all of them stop at the same call; so all
    processes must call it equally often.
    """
    if jax.process_count() > 1:
        count = itertools.count()
        yield lambda: multihost_utils.reached_preemption_sync_point(next(count))
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGTERM, before)
