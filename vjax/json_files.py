"""Reading JSON files, and writing them and other files completely or not at all."""

import json
import os
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


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a file, as `write_json` does.

    Raises:
      InputError: the file cannot be written.
    """
    path = Path(path)
    half = path.with_name(f".{path.name}.half")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(content)
        os.replace(half, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def as_json(content: Any) -> Any:
    """Returns content as `read_json` returns it after `write_json`: tuples become lists."""
    return json.loads(json.dumps(content))
