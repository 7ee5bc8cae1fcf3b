"""Checksums of a checkpoint's files, written with it: a bit that flips later is noticed."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

_CHECKSUMS = "checksums.json"
_BLOCK = 64 * 2**20  # bytes that have a checksum of their own
MOST_BLOCKS = 64  # that are looked at: of a state over 4 GB, a sample


def write_checksums(folder: Path) -> None:
    """Writes the checksums of all files of a folder into it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _CHECKSUMS)
    found = {str(path.relative_to(folder)): list(_checksums(path)) for path in files}
    (folder / _CHECKSUMS).write_text(json.dumps(found))


def has_checksums(folder: Path) -> bool:
    """Returns whether a folder has checksums; checkpoints of older versions have none."""
    return (folder / _CHECKSUMS).exists()


def find_changed(folder: Path, *, index: int, count: int) -> str | None:
    """Returns the name of a file that is not what was written, None where there is none.

    Args:
      folder: that has checksums.
      index: of this process.
      count: of processes; each looks at every `count`-th block. Of very large states they look at a sample.

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
    """The checksum of each block of a file, from one on; an empty file has one block."""
    with path.open("rb") as stream:
        stream.seek(first * _BLOCK)
        content = stream.read(_BLOCK)
        yield zlib.crc32(content)
        while content := stream.read(_BLOCK):
            yield zlib.crc32(content)
