"""Interruptible waits: Python handles SIGINT only in the main thread, and not while that thread is inside a decoder."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def thread_pool() -> Iterator[ThreadPoolExecutor]:
    """Yields a thread pool that, on exit, cancels waiting tasks and does not wait for running ones."""
    pool = ThreadPoolExecutor()
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def interruptible(call: Callable[[], T]) -> T:
    """Returns the result of `call`; in the main thread, SIGINT ends the wait, whichever library `call` is inside."""
    if threading.current_thread() is not threading.main_thread():
        return call()
    with thread_pool() as pool:
        return pool.submit(call).result()
