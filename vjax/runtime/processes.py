"""The processes of one run: how they find each other, and how they are asked to stop."""

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

_HEARTBEAT_S = 30  # a peer that is silent for so long is dead

# What tells a process how many there are, and which one it is; JAX reads them from the same places.
_RANKS = {"SLURM_NTASKS": "SLURM_PROCID", "OMPI_COMM_WORLD_SIZE": "OMPI_COMM_WORLD_RANK"}
_TPU_HOSTS = "TPU_WORKER_HOSTNAMES"

_AUTO = "auto"  # in place of a coordinator's address


def join_processes(*, coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins this process with the others of its run, given here or known to the scheduler that started it.

    Slurm, Open MPI and multi-host TPUs on Kubernetes are recognised by their environment. A process of its own joins
    nothing.

    Args:
      coordinator: `HOST:PORT` of process 0, reachable from all; "auto" where JAX finds the others by other means, as
        on a Cloud TPU pod, where it asks the machine's metadata.
      num_processes: of the run.
      process_id: of this one, from 0.

    Raises:
      InputError: only some of the three are given, they contradict each other, or the scheduler does not say enough.
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
    except ValueError as error:  # Open MPI 5, for one, does not say where its first process is
        raise InputError(
            f"this process is one of several, but its environment does not say where the first one is ({error}); "
            "give --coordinator, --num_processes and --process_id"
        ) from error


def in_cluster(environment: Mapping[str, str]) -> bool:
    """Returns whether a scheduler has started this process as one of several."""
    counts = [environment[count] for count, rank in _RANKS.items() if count in environment and rank in environment]
    return any(count.isdecimal() and int(count) > 1 for count in counts) or "," in environment.get(_TPU_HOSTS, "")


def _initialize(**kwargs: Any) -> None:
    jax.distributed.initialize(heartbeat_timeout_seconds=_HEARTBEAT_S, shutdown_timeout_seconds=60, **kwargs)


def leave(code: int) -> NoReturn:
    """Ends this process; where it failed, at once.

    Then nobody waits for what is left of a run: a reader that is stuck, a write to a full disk, peers that have died.
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
    """Gives what says whether SIGTERM has come: schedulers send it some time before they kill.

    With several processes it is JAX's own notice, which makes all of them stop at the same question; so all must ask
    equally often.
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
