"""Checkpoints with Orbax: the newest two and the best are kept, and a crash leaves no partial checkpoint."""

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import preservation_policy

from vjax.errors import InputError
from vjax.training import damage
from vjax.training.damage import DamagedCheckpoint
from vjax.training.shapes import first_difference

BEST_BY = "val/video@1"
NUM_NEWEST = 2


class _Manager(ocp.CheckpointManager):
    """CheckpointManager without preemption polling.

    Only the loop may poll, because every process must poll equally often.
    """

    def reached_preemption(self, step: int) -> bool:
        return False


class _Handler(ocp.StandardCheckpointHandler):
    """StandardCheckpointHandler that also writes checksums.

    It writes them in the background, before a checkpoint gets its final name.
    """

    def finalize(self, directory: Any) -> None:
        super().finalize(directory)
        if jax.process_index() == 0:
            damage.write_checksums(Path(directory))


@ocp.args.register_with_handler(_Handler, for_save=True)
class _Save(ocp.args.StandardSave):
    """The arguments of a save by `_Handler`."""


@ocp.args.register_with_handler(_Handler, for_restore=True)
class _Restore(ocp.args.StandardRestore):
    """Required by Orbax for every handler, but never used: `_read_alone` restores."""


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silences Orbax, which warns about options that are given on purpose, such as `read_only`."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(max(level, logging.ERROR))
    try:
        yield
    finally:
        logger.setLevel(level)


class Checkpoints:
    """The checkpoints of one work directory.

    A checkpoint holds a state and, if it was evaluated, its metrics. It needs no iterator state: the data position is
    the state's step, and the data pipeline can start at any step. Orbax writes to a temporary folder and renames it
    when it is complete, so a kill at any time leaves all earlier checkpoints intact.
    """

    def __init__(self, directory: str | Path, *, read_only: bool = False):
        """Opens the folder; the first save creates it.

        Args:
          directory: folder of the checkpoints.
          read_only: whether to leave the folder unchanged, so that a run that writes to it is not disturbed.

        Raises:
          DamagedCheckpoint: `read_only` is True, and the metrics of a checkpoint are cut off.
        """
        self._directory = Path(directory).absolute()
        # Orbax reads the metrics of all checkpoints, and fails if one of them is cut off.
        if not read_only:
            _in_first_process(self._move_cut_off_metrics, what="cut-off metrics")
        elif cut_off := damage.unreadable_metrics(self._directory):
            raise DamagedCheckpoint(
                f"the metrics in {cut_off[0]} are cut off; remove that folder. Nothing else needs it"
            )
        # The manager, which deletes all checkpoints but the newest and the best.
        newest = preservation_policy.LatestN(NUM_NEWEST)
        best = preservation_policy.BestN(get_metric_fn=_rank, n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=preservation_policy.AnyPreservationPolicy([newest, best]),
            best_fn=_rank,
            read_only=read_only,
            create=not read_only,
            cleanup_tmp_directories=not read_only,
            save_interval_steps=0 if read_only else 1,
        )
        with _without_warnings():
            self._manager = _Manager(self._directory, options=options, item_handlers=_Handler())
        # Progress of the saves.
        self._complete = self.latest_step()  # newest known on disk; if missing, the folder was removed
        self._newest: int | None = None  # newest saved, perhaps still being written

    def save(self, step: int, state: Any, *, metrics: dict[str, float] | None) -> None:
        """Starts to write a checkpoint, and returns before it is written.

        Raises:
          InputError: this checkpoint or the previous one cannot be written, or the folder was removed.
        """
        if self._complete is not None and self._complete not in self._steps_on_disk():
            raise InputError(f"{self._directory} was removed during the run; its checkpoints are lost")
        with self._write_errors():
            self._manager.save(step, args=_Save(state), metrics=metrics, force=True)
        # Orbax waited for the previous save. That checkpoint is kept until two newer ones are complete.
        self._complete = self._complete if self._newest is None else self._newest
        self._newest = step

    def latest_step(self) -> int | None:
        """Returns the step of the newest checkpoint, None if there is none."""
        return self._manager.latest_step()

    def was_evaluated(self, step: int) -> bool:
        """Returns whether a step's checkpoint has metrics."""
        return self._manager.metrics(step) is not None

    def best_step(self) -> int | None:
        """Returns the step of the checkpoint with the highest video@1 on the validation split, None without one."""
        validated = [step for step in self.all_steps() if BEST_BY in (self._manager.metrics(step) or {})]
        return self._manager.best_step() if validated else None

    def all_steps(self) -> list[int]:
        """Returns the steps of all checkpoints, the oldest first."""
        return sorted(self._manager.all_steps())

    def check(self, step: int, *, index: int = 0, count: int = 1) -> None:
        """Checks the files of a checkpoint for damage; with `count` processes, each checks a part of them.

        Call this before `restore`. If Orbax cannot read a file, it leaves threads and coroutines behind that may block
        the process forever (0.12.8: 2 of 30 runs with two processes), and other processes wait for the failed one.

        Args:
          step: step of the checkpoint.
          index: index of this process.
          count: number of processes that check; each takes every `count`-th part of the files.

        Raises:
          DamagedCheckpoint: a file is missing, cut off or changed.
        """
        with damage.named(self._where(step)):
            damage.check_files(self._item(step), index=index, count=count)

    def restore(self, step: int, like: Any) -> Any:
        """Returns the state of a step; each process reads its own part and does not wait for the others.

        Args:
          step: step of a checkpoint that passed `check`.
          like: a state of the same structure and shapes, of arrays or `ShapeDtypeStruct`s with shardings. A field that
            is None is not read; the optimizer state is often the largest field.

        Raises:
          DamagedCheckpoint: files are missing or cut off.
          InputError: the checkpoint is from another network, or from one with another number of classes.
        """
        with damage.named(self._where(step)):
            # Compare the shapes first, so that the error names the parameter and says what to do.
            found = self._manager.item_metadata(step)
            if found is None:
                raise FileNotFoundError("its metadata is missing")
            if differing := first_difference(found["params"], like.params):
                name, there, here = differing
                raise InputError(
                    f"{self._where(step)} does not fit the network: parameter {name} has shape {there} in the "
                    f"checkpoint and {here} in the network (the head's last axis is the number of classes); use the "
                    "config and the class list it was trained with, or another work directory"
                )
            # Read the fields that are wanted.
            fields = {field.name: getattr(like, field.name) for field in dataclasses.fields(like)}
            wanted = {name: value for name, value in fields.items() if value is not None}
            return dataclasses.replace(like, **_read_alone(self._item(step), wanted))

    def _item(self, step: int) -> Path:
        return self._directory / str(step) / "default"  # Orbax's name for an unnamed item

    def _where(self, step: int) -> str:
        return f"checkpoint {self._directory / str(step)}"

    def set_aside(self, step: int) -> None:
        """Renames the folder of a damaged checkpoint, so that its step can be saved again."""
        folder = self._directory / str(step)
        _in_first_process(lambda: damage.move_aside(folder, self._directory), what=f"checkpoint {step}")
        self._manager.reload()
        self._complete = self.latest_step()

    def _move_cut_off_metrics(self) -> None:
        for folder in damage.unreadable_metrics(self._directory):
            damage.move_aside(folder, self._directory)

    def wait(self) -> None:
        """Waits until all saves are on disk; raises an InputError if one of them cannot be written."""
        with self._write_errors():
            self._manager.wait_until_finished()

    def _steps_on_disk(self) -> set[int]:
        return {int(path.name) for path in self._directory.glob("[0-9]*") if path.name.isdigit()}

    @contextmanager
    def _write_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not damage.is_of_files(error):
                raise
            complete = self._steps_on_disk()
            left = f"the checkpoint of step {max(complete)} is complete" if complete else "there is no other checkpoint"
            raise InputError(
                f"a checkpoint cannot be written to {self._directory} ({damage.reason(error)}); {left}. Repair the "
                "cause; then the same command continues the run"
            ) from error

    def close(self) -> None:
        """Waits for all saves, then closes Orbax's manager."""
        self._manager.close()


def _rank(metrics: Mapping[str, float]) -> float:
    """Returns what the best checkpoint has most of; without a validation split, all are equal."""
    return metrics.get(BEST_BY, -1.0)


def _read_alone(folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """Reads this process's part of some fields; the other processes do not wait for it, even if it fails."""
    this = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=this, active_processes={this}, barrier_sync_key_prefix=f"process {this}"
    )
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, wanted)
    how = ocp.checkpoint_utils.construct_restore_args(abstract)
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
        return reader.restore(folder, args=ocp.args.PyTreeRestore(abstract, restore_args=how, partial_restore=True))


def _in_first_process(change: Callable[[], object], *, what: str) -> None:
    """Calls `change` in the first process; the other processes wait for it."""
    if jax.process_index() == 0:
        change()
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)
