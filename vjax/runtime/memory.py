"""Settings of the memory allocator.

glibc returns freed blocks of some megabytes, such as a video's record or a network's activations, to the system. The
next step allocates them again, with one page fault per page. glibc reads its settings (`GLIBC_TUNABLES`) when a process
starts, so a command sets them and restarts itself before JAX is imported.
"""

import ctypes
import functools
import os
import sys
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path

TUNABLES = "GLIBC_TUNABLES"
ONCE = "VJAX_RESTART"  # "0": no restart and no warning
_THP_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_LARGE = 2**33  # bytes; every block of a step is smaller
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h


def wanted_tunables() -> dict[str, str]:
    """Returns the settings with the fastest measured training step (docs/benchmarks.md, "The allocator")."""
    wanted = {"glibc.malloc.mmap_threshold": str(_LARGE), "glibc.malloc.trim_threshold": str(2 * _LARGE)}
    return ({"glibc.malloc.hugetlb": "1"} if _has_huge_pages() else {}) | wanted


def complete_tunables(given: str) -> str:
    """Returns a value of `GLIBC_TUNABLES` with the missing wanted settings added; given settings are kept."""
    names = {setting.partition("=")[0] for setting in given.split(":")}
    added = [f"{name}={value}" for name, value in wanted_tunables().items() if name not in names]
    return ":".join([*filter(None, [given]), *added])


def is_set(environment: Mapping[str, str]) -> bool:
    """Returns whether an environment needs no change: it has a value for every wanted setting, or glibc is missing."""
    given = environment.get(TUNABLES, "")
    return not _has_glibc() or complete_tunables(given) == given


def restart_with_tunables() -> None:
    """Restarts this process with the allocator's settings: same arguments, folder, process id and open files.

    It does nothing if the settings are present already, without glibc, if `VJAX_RESTART` is 0 (as after a restart), or
    if the process cannot restart unchanged: it runs no file, has other threads, has imported JAX, or is debugged.
    """
    if is_set(os.environ) or os.environ.get(ONCE) == "0" or not _can_restart():
        return
    environment = os.environ | {TUNABLES: complete_tunables(os.environ.get(TUNABLES, "")), ONCE: "0"}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def keep_freed_memory() -> bool:
    """Tells the allocator to keep freed memory, for processes without a restart; returns whether it succeeded.

    It helps less than `GLIBC_TUNABLES`, and takes up to twice the memory (docs/benchmarks.md, "The allocator"). It does
    nothing if `GLIBC_TUNABLES` has settings of malloc, or without glibc.
    """
    if not _has_glibc() or "glibc.malloc." in os.environ.get(TUNABLES, ""):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = {
        _M_TRIM_THRESHOLD: -1,  # never trim; a threshold above 2 GB does not fit an int
        _M_MMAP_MAX: 0,  # no mmap; glibc unmaps such blocks when they are freed
        _M_ARENA_MAX: 1,
    }
    taken = [mallopt(name, value) for name, value in wanted.items()]
    return all(taken)


@functools.cache
def advise() -> None:
    """Warns once if this process was started without the allocator's settings."""
    if not is_set(os.environ) and os.environ.get(ONCE) != "0":
        warnings.warn(
            "glibc returns memory to the system after every step, which can take half of a step's time on CPU: "
            f"start Python with {TUNABLES}={complete_tunables(os.environ.get(TUNABLES, ''))} "
            f"({ONCE}=0 turns this warning off)",
            stacklevel=3,
        )


def _has_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, OSError, ValueError):  # Windows, musl, macOS
        return False


def _has_huge_pages() -> bool:
    try:
        return "[never]" not in _THP_MODE.read_text()
    except OSError:
        return False


def _can_restart() -> bool:
    runs_file = bool(getattr(sys.modules.get("__main__"), "__file__", None))
    is_watched = sys.gettrace() is not None or "pydevd" in sys.modules
    is_alone = threading.active_count() == 1 and "jax" not in sys.modules
    return runs_file and bool(sys.executable and sys.orig_argv) and is_alone and not is_watched
