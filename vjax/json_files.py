"""Reading JSON files, and writing them and other files completely or not at all."""

import contextlib
import csv
import errno
import io
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vjax.errors import InputError


def read_json(path: str | Path) -> Any:
    """Returns the content of a JSON file."""
    return json.loads(Path(path).read_text())


def write_json(path: str | Path, content: Any) -> None:
    """Writes a JSON file, and creates its folder if it is missing; a kill leaves no incomplete file at `path`.

    Raises:
      InputError: the file cannot be written.
    """
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: str | Path, text: str) -> None:
    """Writes a UTF-8 file, as `write_json` does; bytes of file names that are not UTF-8 are written as they were.

    Raises:
      InputError: the file cannot be written.
    """
    write_bytes(path, text.encode("utf-8", errors="surrogateescape"))


def write_csv(path: str | Path, rows: Iterable[Sequence[object]]) -> None:
    """Writes rows, the first of which are the columns, as CSV; as `write_text` does.

    Raises:
      InputError: the file cannot be written.
    """
    table = io.StringIO(newline="")
    csv.writer(table).writerows(rows)
    write_text(path, table.getvalue())


class GrowingCSV:
    """A CSV file that has all rows so far at any time."""

    def __init__(self, path: str | Path, columns: Sequence[object]):
        """Begins the file, and creates its folder if it is missing.

        Raises:
          InputError: the file cannot be written.
        """
        self._path = Path(path)
        with self._errors():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        self.add(columns)

    def __enter__(self) -> "GrowingCSV":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def add(self, *rows: Sequence[object]) -> None:
        """Writes rows.

        Raises:
          InputError: they cannot be written, as on a full disk.
        """
        with self._errors():
            csv.writer(self._stream).writerows(rows)
            self._stream.flush()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"{self._path} cannot be written: {error.strerror}") from error


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a file, as `write_json` does; if several processes write it at once, it is complete at any time.

    Raises:
      InputError: the file cannot be written.
    """
    path, half = Path(path), _half(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(content)
        os.replace(half, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            half.unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Checks that `write_bytes` can write a file, before there is anything to write; it creates the file's folder.

    Raises:
      InputError: the file cannot be written.
    """
    path, half = Path(path), _half(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        half.touch()
        half.unlink()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def _half(path: str | Path) -> Path:
    """Returns the path of a file until it is complete; each process writes its own."""
    return Path(path).with_name(f".{Path(path).name}.{secrets.token_hex(4)}.half")


def as_json(content: Any) -> Any:
    """Returns content as `read_json` returns it after `write_json`: tuples become lists."""
    return json.loads(json.dumps(content))
