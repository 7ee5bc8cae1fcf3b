"""Whole states as they lie on disk, the optimizer's included, which `vjax.load` leaves out."""

from pathlib import Path

import orbax.checkpoint as ocp

from vjax.training.step import TrainState


def saved_state(workdir):
    """The state of a run's newest checkpoint."""
    newest = max(Path(workdir).glob("checkpoints/[0-9]*"), key=lambda folder: int(folder.name))
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        found = reader.restore(newest.absolute() / "default")
    fields = ("step", "params", "batch_stats", "opt_state", "ema")
    return TrainState(**{name: found.get(name) or {} for name in fields[1:]}, step=found["step"])
