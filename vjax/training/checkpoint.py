"""Checkpoints of a run: written in the background, the newest two and the best kept, none ever half written."""

import dataclasses
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import orbax.checkpoint as ocp
import tensorstore
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import preservation_policy

from vjax.errors import InputError
from vjax.training import damage

BEST_BY = "video@1"
NUM_NEWEST = 2


class DamagedCheckpoint(InputError):
    """A checkpoint that was whole when it was written, and cannot be read any more."""


class _Manager(ocp.CheckpointManager):
    """Orbax's, which does not ask whether the run is to stop: the loop does, and counts its questions."""

    def reached_preemption(self, step: int) -> bool:
        """Returns False."""
        return False


class _Handler(ocp.StandardCheckpointHandler):
    """Orbax's, which also writes checksums: in the background, before a checkpoint takes its final name."""

    def finalize(self, directory: Any) -> None:
        """Ends a save."""
        super().finalize(directory)
        if jax.process_index() == 0:
            damage.write_checksums(Path(directory))


@ocp.args.register_with_handler(_Handler, for_save=True)
class _Save(ocp.args.StandardSave):
    """What `_Handler` saves."""


@ocp.args.register_with_handler(_Handler, for_restore=True)
class _Restore(ocp.args.StandardRestore):
    """Unused, since `_read_alone` reads; Orbax takes handlers with both alone."""


class Checkpoints:
    """The checkpoints of one work directory.

    A checkpoint holds a state and, where it was evaluated, its metrics. The data position is the state's step:
    the pipeline starts at any step exactly, so there is nothing else to keep. Orbax writes to a temporary folder
    and renames it when it is whole, so a kill at any time leaves the checkpoints before it.
    """

    def __init__(self, directory: str | Path, *, read_only: bool = False):
        """Opens the folder; it is made with the first save.

        Args:
          directory: of the checkpoints.
          read_only: whether nothing in it is touched, so that a run which goes on there is not disturbed.

        Raises:
          DamagedCheckpoint: one that is only read has metrics that are cut off.
        """
        self._directory = Path(directory).absolute()
        # Orbax reads the metrics of all checkpoints, and stops where they are cut off.
        if not read_only:
            _in_first_process(self._set_metrics_aside, what="cut-off metrics")
        elif cut_off := _unreadable_metrics(self._directory):
            raise DamagedCheckpoint(
                f"the metrics in {cut_off[0]} are cut off; remove that folder, nothing else needs it"
            )
        newest = preservation_policy.LatestN(NUM_NEWEST)
        best = preservation_policy.BestN(
            get_metric_fn=lambda found: found[BEST_BY], n=1, keep_checkpoints_without_metrics=False
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=preservation_policy.AnyPreservationPolicy([newest, best]),
            best_fn=lambda found: found[BEST_BY],
            read_only=read_only,
            create=not read_only,
            cleanup_tmp_directories=not read_only,
            save_interval_steps=0 if read_only else 1,
        )
        self._manager = _Manager(self._directory, options=options, item_handlers=_Handler())
        self._whole = self.latest_step()  # known to be on disk; without it the folder was removed
        self._newest: int | None = None  # saved, perhaps still being written

    def save(self, step: int, state: Any, *, metrics: dict[str, float] | None) -> None:
        """Starts to write a checkpoint; returns before it is written.

        Raises:
          InputError: this one, or the one before it, cannot be written.
        """
        if self._whole is not None and self._whole not in self._steps_on_disk():
            raise InputError(f"{self._directory} was removed while the run went on; what it held is lost")
        with self._said_clearly():
            self._manager.save(step, args=_Save(state), metrics=metrics, force=True)
        # Orbax has waited for the save before this one, which is kept until two newer ones are whole.
        self._whole = self._whole if self._newest is None else self._newest
        self._newest = step

    def latest_step(self) -> int | None:
        """Returns the step of the newest checkpoint, None where there is none."""
        return self._manager.latest_step()

    def was_evaluated(self, step: int) -> bool:
        """Returns whether metrics lie beside the state of a step."""
        return self._manager.metrics(step) is not None

    def best_step(self) -> int | None:
        """Returns the step of the checkpoint with the highest video@1; the newest if none was evaluated."""
        return self._manager.best_step()

    def all_steps(self) -> list[int]:
        """Returns the steps of all checkpoints, the oldest first."""
        return sorted(self._manager.all_steps())

    def check(self, step: int, *, index: int = 0, count: int = 1) -> None:
        """Compares a state's files with their checksums, or every `count`-th part of them from `index` on.

        Without checksums, as in checkpoints of older versions, every array is read once and forgotten. Where Orbax
        cannot read a file, it leaves threads and coroutines behind that may hold the process for ever
        (0.12.8: 2 of 30 runs of two processes), and its processes wait for those that have failed. So files are looked
        at first.

        Raises:
          DamagedCheckpoint: a file is missing, cut off or changed.
        """
        folder = self._item(step)
        with self._damage_named(step):
            if damage.has_checksums(folder):
                if changed := damage.find_changed(folder, index=index, count=count):
                    raise ValueError(f"{changed} is not what was written")
                return
            base = {"driver": "file", "path": f"{folder}/"}
            store: Any = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
            names = sorted(store.list().result())
            if not names:
                raise FileNotFoundError("it holds no arrays")
            for name in names[index::count]:
                store.read(name).result()

    def restore(self, step: int, like: Any) -> Any:
        """Returns the state of a step, which was checked; each process reads its own part, and waits for no other.

        Args:
          step: of the checkpoint.
          like: a state of the same structure and shapes, of arrays or `ShapeDtypeStruct`s with shardings. A field that
            is None is not read: of a large run's state, the optimizer's part is the most.

        Raises:
          DamagedCheckpoint: files of it are missing or cut off.
          InputError: the checkpoint holds another network, or one with another number of classes.
        """
        with self._damage_named(step):
            found = self._manager.item_metadata(step)
            if found is None:
                raise FileNotFoundError("its metadata are gone")
            _check_params(found["params"], like.params, where=f"checkpoint {self._directory / str(step)}")
            fields = {field.name: getattr(like, field.name) for field in dataclasses.fields(like)}
            wanted = {name: value for name, value in fields.items() if value is not None}
            return dataclasses.replace(like, **_read_alone(self._item(step), wanted))

    def _item(self, step: int) -> Path:
        """The folder of the state, as Orbax names what has no name."""
        return self._directory / str(step) / "default"

    @contextmanager
    def _damage_named(self, step: int) -> Iterator[None]:
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            if not _is_of_files(error):
                raise
            where = f"checkpoint {self._directory / str(step)}"
            raise DamagedCheckpoint(f"{where} is damaged ({_reason(error)})") from error

    def set_aside(self, step: int) -> None:
        """Renames the folder of a damaged checkpoint, so that its step can be saved again."""
        _in_first_process(lambda: _rename(self._directory / str(step), self._directory), what=f"checkpoint {step}")
        self._manager.reload()
        self._whole = self.latest_step()

    def _set_metrics_aside(self) -> None:
        for folder in _unreadable_metrics(self._directory):
            _rename(folder, self._directory)

    def wait(self) -> None:
        """Waits until everything saved is on disk; raises an InputError where it cannot be written."""
        with self._said_clearly():
            self._manager.wait_until_finished()

    def _steps_on_disk(self) -> set[int]:
        return {int(path.name) for path in self._directory.glob("[0-9]*") if path.name.isdigit()}

    @contextmanager
    def _said_clearly(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not _is_of_files(error):
                raise
            whole = self._steps_on_disk()
            kept = f"the checkpoint of step {max(whole)} is whole" if whole else "there is no other one"
            raise InputError(
                f"a checkpoint cannot be written to {self._directory} ({_reason(error)}); {kept}. Once "
                "that is mended, the same command goes on"
            ) from error

    def close(self) -> None:
        """Waits, then lets go of the folder."""
        self._manager.close()


def _read_alone(folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """Reads this process's part of some fields; where it fails, no other process is left waiting for it."""
    this = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=this, active_processes={this}, barrier_sync_key_prefix=f"process {this}"
    )
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, wanted)
    how = ocp.checkpoint_utils.construct_restore_args(abstract)
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
        return reader.restore(folder, args=ocp.args.PyTreeRestore(abstract, restore_args=how, partial_restore=True))


def _is_of_files(error: Exception) -> bool:
    """Whether Orbax speaks of files: then it raises ValueErrors, OSErrors and bare Exceptions."""
    return type(error) is Exception or isinstance(error, (ValueError, OSError))


def _reason(error: Exception) -> str:
    """What an error of Orbax says last: TensorStore's begin with files within files, and end with specifications."""
    words = (str(error) or type(error).__name__).splitlines()[0]
    return re.split(r" \[\w+='|\. See full TensorStore", words)[0].rpartition('": ')[2][:300]


def _unreadable_metrics(directory: Path) -> list[Path]:
    folders = []
    for path in directory.glob("[0-9]*/metrics/metrics"):
        try:
            json.loads(path.read_text())
        except json.JSONDecodeError:
            folders.append(path.parent)
    return folders


def _rename(folder: Path, directory: Path) -> None:
    """Moves what is damaged, a checkpoint or a part of one, to where Orbax does not look for it."""
    name = "_".join(folder.relative_to(directory).parts)
    folder.rename(directory / f"damaged_{name}_{time.time_ns()}")


def _in_first_process(change: Callable[[], object], *, what: str) -> None:
    """Changes files once; the other processes wait for it."""
    if jax.process_index() == 0:
        change()
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def _check_params(found: Any, wanted: Any, *, where: str) -> None:
    """Compares the shapes of parameters, by name; the message speaks of the first that differs."""
    shapes_found, shapes_wanted = _shapes(found), _shapes(wanted)
    for name in sorted(shapes_found.keys() | shapes_wanted.keys()):
        if shapes_found.get(name) != shapes_wanted.get(name):
            raise InputError(
                f"{where} does not fit the network: parameter {name} has shape {shapes_found.get(name)} in the "
                f"checkpoint and {shapes_wanted.get(name)} in the network (the head's last axis is the number of "
                "classes); use the config and the class list it was trained with, or another work directory"
            )


def _shapes(params: Any) -> dict[str, tuple[int, ...]]:
    flat: dict[str, Any] = dict(flax.traverse_util.flatten_dict(params, sep="/"))
    return {name: tuple(leaf.shape) for name, leaf in flat.items()}
