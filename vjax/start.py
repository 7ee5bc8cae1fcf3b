"""How the commands start: the allocator first, then everything else, which takes a second to import."""

from typing import NoReturn

from vjax.runtime.memory import restart_with_tunables


def main() -> NoReturn:
    """Runs the `vjax` command to the end of the process."""
    restart_with_tunables()
    from vjax.cli.main import main
    from vjax.runtime.processes import leave

    leave(main())


def train() -> NoReturn:
    """Runs `train.py` to the end of the process."""
    restart_with_tunables()
    from vjax.cli.main import train_main
    from vjax.runtime.processes import leave

    leave(train_main())
