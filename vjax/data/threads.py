"""Waits that SIGINT ends: Python looks at signals in the main thread, and not while that is inside a decoder."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def thread_pool() -> Iterator[ThreadPoolExecutor]:
    """Gives a pool of threads; where the main thread is interrupted, it does not wait for what they are at."""
    pool = ThreadPoolExecutor()
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def interruptible(call: Callable[[], T]) -> T:
    """Returns what a call returns; in the main thread SIGINT ends the wait for it, whatever library it is inside."""
    if threading.current_thread() is not threading.main_thread():
        return call()
    with thread_pool() as pool:
        return pool.submit(call).result()
