"""The process's memory allocator."""

import ctypes

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8  # malloc.h
_MIB = 2**20


def keep_freed_memory() -> bool:
    """Tells glibc's allocator to keep memory that was freed; returns whether it did (False without glibc).

    By default blocks of some megabytes, such as a video's record, go back to the system and are faulted in again,
    page by page, for every clip: reading a record of 3.4 MB took 8 ms instead of 1.5 (docs/benchmarks.md). The
    process then holds on to the most memory that it ever used at once.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    wanted = {
        _M_TRIM_THRESHOLD: 2**31 - 1,
        _M_TOP_PAD: 64 * _MIB,
        _M_MMAP_THRESHOLD: 32 * _MIB,  # the most that glibc takes
        _M_ARENA_MAX: 1,  # the heaps of other arenas go back to the system whatever the threshold is
    }
    taken = [mallopt(name, value) for name, value in wanted.items()]
    return all(taken)
