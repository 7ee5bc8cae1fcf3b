"""Keeps what decoding the files of a dataset has found, so that the next run need not decode them again.

There is one cache file for each dataset, in the user's cache folder; it may be removed at any time. An entry counts
only for a file of the same path, size and modification time, and a cache file only for the same decoder and limits.
"""

import contextlib
import dataclasses
import hashlib
import io
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from vjax.data import decode
from vjax.errors import InputError
from vjax.json_files import write_bytes
from vjax.runtime.cache_folder import cache_folder

# Change this when the format changes, and when decode.py or container.py find something else in the same file.
_VERSION = 1
_DIGEST_SIZE = 16
# File systems note a time of change in steps of up to two seconds. A file that was changed more recently may change
# again without a change of its time and size.
_SETTLED_NS = 2_000_000_000


class Stamp(NamedTuple):
    """The size of a file in bytes and its modification time in nanoseconds; a file that changes has another one."""

    size: int
    mtime_ns: int


class Entry(NamedTuple):
    """What decoding a file has found, and its stamp from before; None if the file was changed just before that."""

    stamp: Stamp | None
    info: decode.VideoInfo


def probe(path: Path) -> Entry:
    """Returns what decoding a file finds, as an entry for the index.

    Raises:
      VideoError: the file cannot be read; see `decode.probe`.
    """
    stamp = _read_stamp(path)
    settled = stamp is not None and abs(time.time_ns() - stamp.mtime_ns) > _SETTLED_NS
    return Entry(stamp if settled else None, decode.probe(path))


@dataclasses.dataclass
class Index:
    """The readable files of a dataset.

    Attributes:
      entries: entries of the files by absolute path.
      changed: whether the entries differ from those of the cache file.
    """

    entries: dict[str, Entry]
    changed: bool = False

    def find_all(self, paths: Iterable[Path]) -> dict[Path, decode.VideoInfo]:
        """Returns the properties of those files that are kept and have not changed since."""
        found = {}
        for path in paths:
            entry = self.entries.get(os.path.abspath(path))
            if entry is not None and entry.stamp == _read_stamp(path):
                found[path] = entry.info
        return found

    def add(self, path: Path, entry: Entry) -> None:
        """Adds the entry of a file, unless the file was changed just before it was decoded."""
        if entry.stamp is None:
            self.remove(path)
        else:
            self.entries[os.path.abspath(path)] = entry
            self.changed = True

    def remove(self, path: Path) -> None:
        """Removes the entry of a file that can no longer be read, if there is one."""
        if self.entries.pop(os.path.abspath(path), None) is not None:
            self.changed = True


@contextlib.contextmanager
def kept_index(root: str) -> Iterator[Index]:
    """Yields the index of a dataset, and writes it if it was changed, even if an error or SIGINT ends the block.

    Entries of files that no longer exist are dropped then. Entries of existing files stay, because a dataset may list
    other files with other options.

    Args:
      root: location of the dataset.
    """
    path = _cache_path(root)
    index = Index(_read(path) if path else {})
    try:
        yield index
    finally:
        if path and index.changed:
            existing = {name: entry for name, entry in index.entries.items() if os.path.exists(name)}
            # Where the cache cannot be written, nothing is lost but time: the next run decodes the files again.
            with contextlib.suppress(InputError):
                write_bytes(path, pack(existing))


def _cache_path(root: str) -> Path | None:
    """Returns the path of a dataset's cache file, or None if the user has no cache folder."""
    folder = cache_folder()
    if folder is None:
        return None
    place = os.path.abspath(os.path.expanduser(root))
    return folder / "index" / hashlib.blake2b(os.fsencode(place), digest_size=_DIGEST_SIZE).hexdigest()


def _read_stamp(path: str | Path) -> Stamp | None:
    """Returns the stamp of a file; None if it cannot be found."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a null byte in the name
        return None
    return Stamp(found.st_size, found.st_mtime_ns)


def _head() -> bytes:
    """Returns the first line of a cache file: all versions and limits that decide what decoding finds."""
    return f"vjax index {_VERSION}, PyAV {av.__version__}, ffmpeg {av.ffmpeg_version_info}, {decode.LIMITS}\n".encode()


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_SIZE).digest()


def _read(path: Path) -> dict[str, Entry]:
    """Returns the entries of a cache file; none if it is missing, or if `unpack` returns none."""
    try:
        return unpack(path.read_bytes())
    except OSError:
        return {}


_NO_SEEKS = decode.SeekTable(np.array([], np.int64), np.array([], np.int64), ())


def pack(entries: Mapping[str, Entry]) -> bytes:
    """Returns the content of a cache file: the head, a digest, and one compressed array for each property.

    Args:
      entries: entries with a stamp, by absolute path.
    """
    infos = [entry.info for entry in entries.values()]
    tables = [info.seeks or _NO_SEEKS for info in infos]
    stored = io.BytesIO()
    np.savez_compressed(
        stored,
        paths=np.frombuffer(b"".join(os.fsencode(path) + b"\0" for path in entries), np.uint8),
        stamps=np.array([entry.stamp for entry in entries.values()], np.int64).reshape(-1, 2),
        shapes=np.array([(info.num_frames, info.height, info.width) for info in infos], np.int64).reshape(-1, 3),
        fps=np.array([info.fps for info in infos], np.float64),
        counts=np.array([(len(table.pts), len(table.keyframes)) for table in tables], np.int64).reshape(-1, 2),
        # Differences are small and often equal, so they compress well.
        pts=np.diff(np.concatenate([_NO_SEEKS.pts, *(table.pts for table in tables)]), prepend=0),
        keyframes=np.diff(np.concatenate([_NO_SEEKS.keyframes, *(table.keyframes for table in tables)]), prepend=0),
        checksums=np.array([checksum for table in tables for checksum in table.checksums], np.uint32),
    )
    body = stored.getvalue()
    return _head() + _digest(body) + body


def unpack(content: bytes) -> dict[str, Entry]:
    """Returns the entries from the content of a cache file; none if it is damaged or of another version."""
    head = _head()
    digest, body = content[len(head) : len(head) + _DIGEST_SIZE], content[len(head) + _DIGEST_SIZE :]
    if not content.startswith(head) or digest != _digest(body):
        return {}
    # With the right digest, the content is what `pack` returned.
    with np.load(io.BytesIO(body)) as arrays:
        paths = map(os.fsdecode, arrays["paths"].tobytes().split(b"\0")[:-1])
        stamps, shapes, fps = (arrays[name].tolist() for name in ("stamps", "shapes", "fps"))
        ends = np.cumsum(arrays["counts"], axis=0).tolist()
        pts, keyframes, checksums = np.cumsum(arrays["pts"]), np.cumsum(arrays["keyframes"]), arrays["checksums"]
    entries, p, k = {}, 0, 0
    for path, stamp, (num_frames, height, width), rate, (p_end, k_end) in zip(
        paths, stamps, shapes, fps, ends, strict=True
    ):
        seeks = None
        if k_end > k:
            seeks = decode.SeekTable(pts[p:p_end], keyframes[k:k_end], tuple(checksums[k:k_end].tolist()))
        entries[path] = Entry(Stamp(*stamp), decode.VideoInfo(num_frames, rate, height, width, seeks))
        p, k = p_end, k_end
    return entries
