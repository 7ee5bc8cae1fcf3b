"""Entry points of the commands.

Each sets up the memory allocator first, which may restart the process. Only then it imports everything else, which
takes a second.
"""

from typing import NoReturn

from vjax.runtime.memory import restart_with_tunables


def main() -> NoReturn:
    """Runs the `vjax` command, then ends the process."""
    restart_with_tunables()
    from vjax.cli.main import main
    from vjax.runtime.processes import leave

    leave(main())


def train() -> NoReturn:
    """Runs `train.py`, then ends the process."""
    restart_with_tunables()
    from vjax.cli.main import train_main
    from vjax.runtime.processes import leave

    leave(train_main())
