"""Work directories: their lock, their small files, and the checks that a run fits the directory."""

import contextlib
import dataclasses
import errno
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vjax import config, typed
from vjax.config import CHANGEABLE, Config
from vjax.data.lost import keep_videos, read_num_frames, write_videos
from vjax.data.splits import SPLIT_FILE, SPLITS
from vjax.data.video import BadVideo, Source
from vjax.errors import InputError
from vjax.json_files import as_json, read_json, write_csv, write_json
from vjax.ops.length import Length, is_longer

_FOREIGN_FILE = "outside.json"
_LENGTHS_FILE = "lengths.json"
_DATA_FILE = "data.json"
_SAME_SHARE = 0.9  # of the videos of a run that a source has under other names
_LOCK_FILE = ".lock"
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)  # errors of network file systems without locks


@contextlib.contextmanager
def claimed(workdir: Path) -> Iterator[None]:
    """Locks a work directory against other runs; the lock ends when the process ends, even if it is killed.

    On a file system without locks, other runs are not kept out. A directory that was created here and stays empty is
    removed.

    Raises:
      InputError: another run uses the directory.
    """
    made = not workdir.exists()
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / _LOCK_FILE
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{workdir}: another run is using it; wait until it ends, or choose another --workdir"
            ) from error
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
        try:
            yield
        finally:
            if made and workdir.is_dir() and [found.name for found in workdir.iterdir()] == [_LOCK_FILE]:
                path.unlink()
                workdir.rmdir()


def finished_result(workdir: str | Path, *, length: Length | None = None) -> dict[str, Any] | None:
    """Returns the result of a finished run, or None if there is none.

    Args:
      workdir: work directory; it need not exist.
      length: length of the run that is wanted; a run that ended before it is not finished. Not compared if not given.
    """
    path = Path(workdir) / "result.json"
    if not path.exists() or (length is not None and longer_than(Path(workdir), length) is not None):
        return None
    return read_json(path)


def check_unfinished(workdir: Path) -> None:
    """Raises an InputError if a work directory without checkpoints holds the result of a run."""
    if finished_result(workdir):
        raise InputError(
            f"{workdir} holds a finished run whose checkpoints are gone, so it cannot be made longer; choose another "
            "--workdir"
        )


def longer_than(workdir: Path, length: Length) -> Length | None:
    """Returns the length of a work directory's run if the given one is longer; else None."""
    path = workdir / "config.json"
    there = read_json(path)["length"] if path.exists() else length
    return there if is_longer(length, there) else None


def note_longer(workdir: Path, *, step: int, before: Length) -> None:
    """Notes the step at which a run is made longer, and renames its result, so that it no longer counts as finished."""
    noted = {entry["step"]: entry for entry in read_longer(workdir)} | {step: {"step": step, "length": before}}
    write_json(workdir / _LENGTHS_FILE, list(noted.values()))
    path = workdir / "result.json"
    if path.exists():
        path.rename(workdir / f"result_of_step_{step}.json")


def read_longer(workdir: Path) -> list[dict[str, Any]]:
    """Returns the `step` of each time that a run was made longer, and its `length` before."""
    path = workdir / _LENGTHS_FILE
    return read_json(path) if path.exists() else []


def kept_source(workdir: Path, source: Source) -> Source:
    """Returns a source with the videos that the run of a work directory began with.

    A work directory without a list of videos leaves the source unchanged.

    Raises:
      InputError: the source has other classes than the run.
    """
    check_kept_classes(workdir, source.class_names)
    path = workdir / SPLIT_FILE
    if not path.exists():
        return source
    return dataclasses.replace(keep_videos(path, source), split=read_json(workdir / _DATA_FILE)["split"])


def write_data(workdir: Path, source: Source) -> None:
    """Writes which videos a new run is about: the words for their split, and a table of them if they are files.

    Videos in records have no table, because they cannot get lost one by one. A run that is continued keeps its files.
    """
    if not (workdir / SPLIT_FILE).exists():
        counts = {split: len(getattr(source, split)) for split in SPLITS}
        write_json(workdir / _DATA_FILE, {"split": source.split, "split_code": source.split_code, **counts})
        if isinstance(source.train, list):
            write_videos(workdir / SPLIT_FILE, source)


def describe_longer(workdir: Path) -> str:
    """Returns the part of a protocol that says when a run was made longer; empty if it never was."""
    return "".join(
        f"; made longer at step {entry['step']}, from a length of {entry['length']}" for entry in read_longer(workdir)
    )


def with_own_split(workdir: Path, config: Config) -> Config:
    """Returns the config of a work directory's run without the other run whose split it kept; it has its own table."""
    if config.keep_split and (workdir / SPLIT_FILE).exists():
        return dataclasses.replace(config, keep_split=str(workdir / SPLIT_FILE))
    return config


def are_videos_of_run(workdir: Path, source: Source) -> bool:
    """Tells whether a source has the videos that the run of a work directory began with; up to half may be missing.

    A video is the same if its name and its number of frames are, or if it can no longer be read.

    Raises:
      InputError: the source has fewer than half of the videos, or all of them under other names.
    """
    kept = read_num_frames(workdir / SPLIT_FILE)
    there = {video.name: video.num_frames for split in SPLITS for video in getattr(source, split)}
    unreadable = {bad.name for bad in source.bad_videos}
    same = [name for name, num_frames in kept.items() if there.get(name) == num_frames or name in unreadable]
    if 2 * len(same) >= len(kept):
        return True
    if same:
        raise InputError(
            f"only {len(same)} of the {len(kept)} videos of {workdir} are there, such as {same[0]!r}, next to "
            f"{len(there) - len(same)} others. Give a place that has the run's videos, or one that has none of them: a "
            "network is not tested on videos that it was trained on"
        )
    # The class folder and the file name, without the folders above them.
    kept_tails, tails = ({"/".join(name.split("/")[-2:]): name for name in found} for found in (kept, there))
    both = sorted(tail for tail in kept_tails.keys() & tails.keys() if kept[kept_tails[tail]] == there[tails[tail]])
    if len(both) >= _SAME_SHARE * len(kept):
        raise InputError(
            f"the videos seem to be those of {workdir}, but under other names: {tails[both[0]]!r} here, "
            f"{kept_tails[both[0]]!r} there; give the folder or the manifest that has the names of the run"
        )
    return False


def write_foreign(workdir: Path, parts: dict[str, str]) -> None:
    """Writes the descriptions of a run's parts from outside the package, if there are any."""
    if parts:
        write_json(workdir / _FOREIGN_FILE, parts)


def read_foreign(workdir: Path) -> dict[str, str]:
    """Returns the descriptions of a run's parts from outside the package, by name."""
    path = workdir / _FOREIGN_FILE
    return read_json(path) if path.exists() else {}


def check_config(workdir: Path, resolved: dict[str, Any], foreign: dict[str, str] | None = None) -> None:
    """Raises an InputError if a work directory holds a run of another config or with other parts.

    Args:
      workdir: work directory; it need not exist.
      resolved: config of the run as plain data; it may differ in the keys of `CHANGEABLE`, and `length` may be longer.
      foreign: descriptions of the run's parts from outside the package; not compared if not given.
    """
    path = workdir / "config.json"
    # An older version wrote no values for keys that it did not have.
    there = as_json(typed.as_plain(config.check_config(read_json(path)))) if path.exists() else resolved
    if longer_than(workdir, resolved["length"]) is not None:
        there = there | {"length": resolved["length"]}
    differing = _differences(_lasting(there), _lasting(resolved))
    if path.exists() and foreign is not None:
        differing += _differences(read_foreign(workdir), foreign, "experiment")
    if differing:
        raise InputError(
            f"{workdir} holds a run of another config ({'; '.join(differing)}); choose another --workdir, or "
            f"remove this one to start again. If only a path differs, because the data has moved, change it in {path}"
        )


def _lasting(resolved: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in resolved.items() if key not in CHANGEABLE}


def _differences(there: Any, here: Any, where: str = "config") -> list[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        keys = sorted(there.keys() | here.keys())
        return [line for key in keys for line in _differences(there.get(key), here.get(key), f"{where}.{key}")]
    return [] if there == here else [f"{where} is {there!r} there and {here!r} here"]


def check_kept_classes(workdir: Path, class_names: tuple[str, ...]) -> None:
    """Raises an InputError if a work directory holds a run with other classes."""
    path = workdir / "classes.json"
    if path.exists():
        check_classes(tuple(read_json(path)), class_names, where=str(workdir))


def check_classes(there: tuple[str, ...], here: tuple[str, ...], *, where: str) -> None:
    """Raises an InputError unless the data has the class list that a network was trained with.

    Args:
      there: class names of the trained network.
      here: class names of the data.
      where: work directory of the trained network, for the message.
    """
    if there != here:
        gone, new = sorted(set(there) - set(here)), sorted(set(here) - set(there))
        raise InputError(
            f"the class list of the data differs from that of {where}: {len(here)} classes, not {len(there)}; "
            f"missing {gone}, new {new}; use the data it was trained on, or another work directory"
        )


def write_bad_videos(path: Path, bad_videos: tuple[BadVideo, ...]) -> None:
    """Writes a CSV table with the columns `name`, `split` and `reason`."""
    columns = [field.name for field in dataclasses.fields(BadVideo)]
    write_csv(path, [columns, *map(dataclasses.astuple, bad_videos)])
