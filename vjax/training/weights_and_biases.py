"""A writer for Weights & Biases, which needs the optional package `wandb`."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vjax.errors import InputError


class WeightsAndBiases:
    """A writer for Weights & Biases; a resumed run continues there too, because the work directory keeps its id."""

    def __init__(self, workdir: Path, *, project: str, config: Mapping[str, Any]):
        """Starts a run, or continues the run of this work directory.

        Args:
          workdir: work directory; its name is the run's name, and its folder `wandb` has the files of wandb.
          project: name of the project on Weights & Biases.
          config: resolved config, shown with the run.

        Raises:
          InputError: wandb is not installed, or cannot start a run, e.g. because nobody is logged in.
        """
        # The optional package.
        try:
            import wandb
            from wandb.errors import Error
        except ImportError as error:
            raise InputError("config.wandb_project needs the package wandb: pip install '.[wandb]'") from error
        # The id, which makes a resumed run the same run.
        known_as = workdir / "wandb" / "id"
        if not known_as.exists():
            known_as.parent.mkdir(parents=True, exist_ok=True)
            known_as.write_text(uuid.uuid4().hex[:8])
        # The run.
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
                f"wandb cannot start a run ({error}); run `wandb login` first, or set WANDB_MODE=offline to keep "
                "the run on disk"
            ) from error

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Logs the numbers of a step."""
        self._run.log(dict(values), step=step)

    def advance(self, step: int) -> None:
        """Does nothing: only numbers are logged."""

    def close(self) -> None:
        """Waits until wandb has stored everything."""
        self._run.finish()
