"""The process's memory allocator."""

import ctypes

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8  # malloc.h


def keep_freed_memory() -> bool:
    """Tells glibc's allocator to keep memory that was freed; returns whether it did (False without glibc).

    By default blocks of some megabytes, such as a video's record or a network's activations, go back to the system
    and are faulted in again, page by page, for every clip and every step: reading a record of 3.4 MB took 8 ms
    instead of 1.5, the quickstart's step 86 ms instead of 54 (docs/benchmarks.md). The process then holds on to the
    most memory that it ever used at once.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    wanted = {
        _M_TRIM_THRESHOLD: 2**31 - 1,
        _M_TOP_PAD: 64 * 2**20,
        _M_MMAP_MAX: 0,  # blocks with a mapping of their own go back when they are freed
        _M_ARENA_MAX: 1,  # the heaps of other arenas go back to the system whatever the threshold is
    }
    taken = [mallopt(name, value) for name, value in wanted.items()]
    return all(taken)
