"""Whole states as they lie on disk, the optimizer's included, which `vjax.load` leaves out."""

from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from vjax.training.step import TrainState


def saved_state(workdir):
    """The state of a run's newest checkpoint, as NumPy arrays."""
    steps = [int(folder.name) for folder in Path(workdir).glob("checkpoints/*") if folder.name.isdigit()]
    folder = Path(workdir).absolute() / "checkpoints" / str(max(steps)) / "default"
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        # Whatever devices it was saved from, which need not be here.
        like = jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), reader.metadata(folder).item_metadata.tree
        )
        found = reader.restore(folder, args=ocp.args.PyTreeRestore(restore_args=like))
    fields = ("params", "batch_stats", "opt_state", "ema")
    return TrainState(step=found["step"], **{name: found.get(name) or {} for name in fields})
