"""A run's numbers on Weights & Biases, where the optional package `wandb` is installed."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vjax.errors import InputError


class WeightsAndBiases:
    """A writer. A run that goes on after it was cut off goes on there too: its id is kept beside its numbers."""

    def __init__(self, workdir: Path, *, project: str, config: Mapping[str, Any]):
        """Starts a run, or the one of this work directory again.

        Args:
          workdir: its name is the run's name; wandb's files lie in its folder `wandb`.
          project: on Weights & Biases.
          config: the resolved one, shown there.

        Raises:
          InputError: wandb is not installed, or nobody is logged in.
        """
        try:
            import wandb
            from wandb.errors import Error
        except ImportError as error:
            raise InputError("config.wandb_project needs the package wandb: pip install '.[wandb]'") from error
        known_as = workdir / "wandb" / "id"
        if not known_as.exists():
            known_as.parent.mkdir(parents=True, exist_ok=True)
            known_as.write_text(uuid.uuid4().hex[:8])
        try:
            self._run = wandb.init(
                project=project,
                name=workdir.name,
                id=known_as.read_text(),
                resume="allow",
                dir=workdir,
                config=dict(config),
                settings=wandb.Settings(silent=True),
            )
        except Error as error:
            raise InputError(
                f"wandb cannot start a run ({error}); `wandb login` first, or WANDB_MODE=offline keeps it on disk"
            ) from error

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to each curve."""
        self._run.log(dict(values), step=step)

    def advance(self, step: int) -> None:
        """Writes nothing."""

    def close(self) -> None:
        """Waits until everything is there."""
        self._run.finish()
