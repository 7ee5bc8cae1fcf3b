"""Ctrl-C ends a command within seconds, with one line, from its first import on. Imports neither JAX nor TFDS."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as in shells
LINE = "interrupted; the same command continues a training run from its newest checkpoint"
_PATIENCE_S = 2.0
_FORCE = "ends the process after SIGINT"  # name of the thread


def leave_on_interrupt() -> None:
    """Makes SIGINT end the process at once, while it imports: an extension turns the exception into an ImportError."""
    _handle(lambda *_: _say_and_leave())


def raise_on_interrupt() -> None:
    """Makes SIGINT raise a KeyboardInterrupt, and end the process if that has no effect.

    A library may swallow the exception: JAX does so in its callback to the garbage collector. Worker processes only
    raise it.
    """
    process = os.getpid()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            force = threading.Timer(_PATIENCE_S, _say_and_leave)
            force.name, force.daemon = _FORCE, True
            force.start()
        signal.default_int_handler(number, frame)

    _handle(interrupt)


def take_time_to_end() -> None:
    """Lets the process live on after a KeyboardInterrupt that was caught, until it ends by itself."""
    for thread in threading.enumerate():
        if thread.name == _FORCE and isinstance(thread, threading.Timer):
            thread.cancel()


def _handle(handler: Callable[[int, FrameType | None], object]) -> None:
    # A shell's background jobs ignore SIGINT, and continue to.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def _say_and_leave() -> NoReturn:
    sys.stdout.flush()
    sys.stderr.write(f"{LINE}\n")
    sys.stderr.flush()
    os._exit(EXIT_INTERRUPTED)
