"""The process's memory allocator.

glibc gives blocks of some megabytes, such as a video's record or a network's activations, back to the system when they
are freed, and the next step faults them in again, page by page. Its settings are read when a process starts
(`GLIBC_TUNABLES`), so a command sets them and starts itself again, before JAX is imported.
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
ONCE = "VJAX_RESTART"  # "0": no restart
_THP_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_LARGE = 2**33  # bytes: a block of a step is smaller
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h


def wanted_tunables() -> dict[str, str]:
    """Returns the settings that training measures best with (docs/benchmarks.md, "The allocator")."""
    wanted = {"glibc.malloc.mmap_threshold": str(_LARGE), "glibc.malloc.trim_threshold": str(2 * _LARGE)}
    return ({"glibc.malloc.hugetlb": "1"} if _has_huge_pages() else {}) | wanted


def complete_tunables(given: str) -> str:
    """Returns the value of `GLIBC_TUNABLES` with what is wanted added; what is given stays."""
    names = {setting.partition("=")[0] for setting in given.split(":")}
    added = [f"{name}={value}" for name, value in wanted_tunables().items() if name not in names]
    return ":".join([*filter(None, [given]), *added])


def is_set(environment: Mapping[str, str]) -> bool:
    """Returns whether a process that has this environment needs nothing more; True without glibc."""
    given = environment.get(TUNABLES, "")
    return not _has_glibc() or complete_tunables(given) == given


def restart_with_tunables() -> None:
    """Starts this process again with the allocator's settings: same arguments, folder, process id and open files.

    It returns where they are set already, without glibc, where `VJAX_RESTART` is 0 (as it is after a restart), and
    where the process cannot start again as it was: it runs no file, other threads or JAX are there, a debugger watches.
    """
    if is_set(os.environ) or os.environ.get(ONCE) == "0" or not _can_restart():
        return
    environment = os.environ | {TUNABLES: complete_tunables(os.environ.get(TUNABLES, "")), ONCE: "0"}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def keep_freed_memory() -> bool:
    """Tells the allocator of a process that was not restarted to keep what was freed; returns whether it did.

    It takes as little time as `GLIBC_TUNABLES`, and up to twice the memory. Nothing happens where `GLIBC_TUNABLES` has
    a say about malloc, or without glibc.
    """
    if not _has_glibc() or "glibc.malloc." in os.environ.get(TUNABLES, ""):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = {
        _M_TRIM_THRESHOLD: -1,  # never; larger numbers than 2 GB do not fit an int
        _M_MMAP_MAX: 0,  # blocks with a mapping of their own go back when they are freed
        _M_ARENA_MAX: 1,
    }
    taken = [mallopt(name, value) for name, value in wanted.items()]
    return all(taken)


@functools.cache
def advise() -> None:
    """Warns, once, that this process was started without the allocator's settings."""
    if not is_set(os.environ) and os.environ.get(ONCE) != "0":
        warnings.warn(
            "glibc gives memory back to the system after every step, which can take half of a step's time on CPU: "
            f"start Python with {TUNABLES}={complete_tunables(os.environ.get(TUNABLES, ''))} "
            f"({ONCE}=0 silences this line)",
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
