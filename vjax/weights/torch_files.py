"""The two forms of torch.save: a zip archive, and the older form, pickles with numbers behind them."""

import contextlib
import io
import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vjax.errors import InputError
from vjax.text import shorten, visible
from vjax.weights.pickles import damaged, interpret
from vjax.weights.torch_tensors import KNOWN, Storage, Storages, shown

ZIP_START = b"PK\x03\x04"
OLD_START = b"\x80"  # of every pickle of protocol 2 and later
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Saved(NamedTuple):
    """What torch.save wrote.

    Attributes:
      content: dicts, lists and numbers, with a `Tensor` for each tensor.
      storages: storages of the tensors.
      read: function that returns the bytes of a storage.
      big_endian: byte order of those bytes.
    """

    content: Any
    storages: Storages
    read: Callable[[Storage], bytes]
    big_endian: bool


class _Mapped(mmap.mmap):
    """A file in memory, as `zipfile` wants it.

    A file of Python allocates what a damaged length asks for, before it reads; this one does not.
    """

    def seekable(self) -> Literal[True]:  # part of mmap since Python 3.13
        return True


@contextlib.contextmanager
def open_zip(path: Path) -> Iterator[Saved]:
    """Opens a file that begins with `ZIP_START`; its storages are read until the context ends.

    Raises:
      InputError: torch.save did not write it, it is damaged, or it holds more than tensors and plain values.
    """
    with path.open("rb") as file, _Mapped(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        with _zip_errors():
            archive = zipfile.ZipFile(mapped)  # pyright: ignore[reportArgumentType, reportCallIssue]
        entries = {entry.filename: entry for entry in archive.infolist()}
        pickles = [name for name in entries if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise InputError(f"is a zip archive with {len(pickles)} files data.pkl; torch.save writes one")
        # Entries that share bytes, or that grow when they are unpacked, could fill a machine's memory.
        if sum(entry.file_size for entry in archive.infolist()) > len(mapped):
            raise InputError("is a zip archive whose files claim more bytes than it has; torch.save compresses nothing")
        folder = pickles[0].removesuffix("data.pkl")

        def read(name: str) -> bytes:
            if (entry := entries.get(folder + name)) is None:
                raise InputError(f"is damaged: {shown(folder + name)} is missing in the archive")
            if entry.compress_type != zipfile.ZIP_STORED:
                raise InputError(f"is a zip archive whose {shown(entry.filename)} is compressed; torch.save does not")
            with _zip_errors():
                return archive.read(entry)

        def read_storage(storage: Storage) -> bytes:
            content = read(f"data/{storage.key}")
            if len(content) != storage.num_bytes:
                raise damaged(f"the storage {shown(storage.key)} has {len(content):,} bytes, not {storage.num_bytes:,}")
            return content

        order = read("byteorder") if f"{folder}byteorder" in entries else b"little"
        if order not in (b"little", b"big"):
            raise InputError("is damaged: its byteorder is neither little nor big")
        storages = Storages(len(mapped))
        content = interpret(io.BytesIO(read("data.pkl")), known=KNOWN, find_stored=storages.find)
        yield Saved(content, storages, read_storage, order == b"big")


@contextlib.contextmanager
def _zip_errors() -> Iterator[None]:
    """Turns the errors of a damaged archive into an InputError; `zipfile` lets many kinds through."""
    try:
        yield
    except (
        *(zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError),
        *(EOFError, OSError, OverflowError, ValueError),
    ) as error:
        raise InputError(f"is a damaged zip archive ({shorten(visible(str(error)), 100)})") from error


@contextlib.contextmanager
def open_old(path: Path) -> Iterator[Saved]:
    """Opens a file that begins with `OLD_START`; its storages are read until the context ends.

    Raises:
      InputError: it is damaged, or it holds more than tensors and plain values.
    """
    with path.open("rb") as file, _Mapped(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        storages = Storages(len(mapped))
        if interpret(mapped, known=KNOWN, find_stored=storages.find) != _MAGIC:
            raise InputError("is a pickle, but torch.save did not write it")
        protocol, system, content, keys = (interpret(mapped, known=KNOWN, find_stored=storages.find) for _ in range(4))
        if protocol != _PROTOCOL or not isinstance(system, dict) or not isinstance(keys, list):
            raise damaged("it does not begin as torch.save begins")
        # The numbers of each storage lie behind their count, in the order of the keys.
        places: dict[str, int] = {}
        place = mapped.tell()
        for key in keys:
            storage = storages.by_key.get(key) if isinstance(key, str) else None
            if storage is None or key in places:
                raise damaged("its storages are not those of its tensors")
            start, place = place + 8, place + 8 + storage.num_bytes
            if place > len(mapped):
                raise InputError(f"is cut off in its storage {shown(key)}: at byte {len(mapped):,} of {place:,}")
            if mapped[start - 8 : start] != struct.pack("<q", storage.size):
                raise damaged(f"the storage {shown(key)} is not as large as its tensor says")
            places[key] = start

        def read_storage(storage: Storage) -> bytes:
            if storage.key not in places:
                raise InputError(f"is damaged: the storage {shown(storage.key)} is missing")
            return mapped[places[storage.key] : places[storage.key] + storage.num_bytes]

        yield Saved(content, storages, read_storage, big_endian=False)  # the old form has one order
