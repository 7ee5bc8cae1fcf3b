"""Entry points of the commands.

Each sets up Ctrl-C and the memory allocator first, which may restart the process. Only then it imports everything else,
which takes a second.
"""

from typing import NoReturn

from vjax.runtime.interrupt import leave_on_interrupt, raise_on_interrupt
from vjax.runtime.memory import restart_with_tunables


def main() -> NoReturn:
    """Runs the `vjax` command, then ends the process."""
    _run("main")


def train() -> NoReturn:
    """Runs `train.py`, then ends the process."""
    _run("train_main")


def _run(name: str) -> NoReturn:
    leave_on_interrupt()
    restart_with_tunables()
    from vjax.cli import main
    from vjax.runtime.processes import leave

    raise_on_interrupt()
    leave(getattr(main, name)())
