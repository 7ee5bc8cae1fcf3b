"""Damaged checkpoints: checksums detect the damage, an error explains it in one line, and the folder is renamed."""

import json
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorstore

from vjax.errors import InputError

_CHECKSUMS = "checksums.json"
_BLOCK = 64 * 2**20  # bytes per checksum
MOST_BLOCKS = 64  # blocks that are checked; if a state has more (more than 4 GB, or many files), a sample


class DamagedCheckpoint(InputError):
    """A checkpoint was complete when it was written, but can no longer be read."""


def write_checksums(folder: Path) -> None:
    """Writes the checksums of all files in a folder to a file in that folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _CHECKSUMS)
    found = {str(path.relative_to(folder)): list(_checksums(path)) for path in files}
    (folder / _CHECKSUMS).write_text(json.dumps(found))


def check_files(folder: Path, *, index: int, count: int) -> None:
    """Reads the files of a state and compares their checksums; with `count` processes, each reads a part of them.

    Checkpoints of older versions have no checksums. Their arrays are read and discarded instead.

    Args:
      folder: folder of the state.
      index: index of this process.
      count: number of processes that check; each takes every `count`-th part.

    Raises:
      OSError: a file is missing.
      ValueError: a file is cut off or changed.
    """
    # Compare checksums.
    if (folder / _CHECKSUMS).exists():
        if changed := find_changed(folder, index=index, count=count):
            raise ValueError(f"{changed} is not what was written")
        return
    # Without checksums, read this process's part of the arrays.
    base = {"driver": "file", "path": f"{folder}/"}
    store: Any = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    names = sorted(store.list().result())
    if not names:
        raise FileNotFoundError("it holds no arrays")
    for name in names[index::count]:
        store.read(name).result()


def find_changed(folder: Path, *, index: int, count: int) -> str | None:
    """Returns the name of a file that has changed since it was written, or None.

    Args:
      folder: folder with checksums.
      index: index of this process.
      count: number of processes; each checks every `count`-th block, or fewer if there are more than `MOST_BLOCKS`.

    Raises:
      OSError: a file is missing.
      ValueError: the checksums cannot be read.
    """
    written = json.loads((folder / _CHECKSUMS).read_text())
    blocks = [(name, block, checksum) for name, all_of in written.items() for block, checksum in enumerate(all_of)]
    step = count * -(-len(blocks) // (MOST_BLOCKS * count))
    for name, block, checksum in blocks[index::step]:
        if next(_checksums(folder / name, first=block), None) != checksum:
            return name
    return None


def _checksums(path: Path, *, first: int = 0) -> Iterator[int]:
    """Yields the checksums of a file's blocks, starting at block `first`; an empty file has one block."""
    with path.open("rb") as stream:
        stream.seek(first * _BLOCK)
        content = stream.read(_BLOCK)
        yield zlib.crc32(content)
        while content := stream.read(_BLOCK):
            yield zlib.crc32(content)


def unreadable_metrics(directory: Path) -> list[Path]:
    """Returns the metrics folders in a directory of checkpoints whose file is cut off."""
    folders = []
    for path in directory.glob("[0-9]*/metrics/metrics"):
        try:
            json.loads(path.read_text())
        except json.JSONDecodeError:
            folders.append(path.parent)
    return folders


def move_aside(folder: Path, directory: Path) -> None:
    """Renames a damaged checkpoint, or a damaged part of one, so that Orbax ignores it."""
    name = "_".join(folder.relative_to(directory).parts)
    folder.rename(directory / f"damaged_{name}_{time.time_ns()}")


@contextmanager
def named(what: str) -> Iterator[None]:
    """Turns an error about files into a `DamagedCheckpoint` that names the checkpoint and the reason."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # Orbax raises bare Exceptions
        if not is_of_files(error):
            raise
        raise DamagedCheckpoint(f"{what} is damaged ({reason(error)})") from error


def is_of_files(error: Exception) -> bool:
    """Returns whether an error of Orbax is about files: a ValueError, an OSError or a bare Exception."""
    return type(error) is Exception or isinstance(error, (ValueError, OSError))


def reason(error: Exception) -> str:
    """Returns the core of an error message, without the file names and the specification that TensorStore adds."""
    words = (str(error) or type(error).__name__).splitlines()[0]
    return re.split(r" \[\w+='|\. See full TensorStore", words)[0].rpartition('": ')[2][:300]
