"""JSON files: written completely or not at all."""

import json
import os
from pathlib import Path
from typing import Any

from vjax.errors import InputError


def read_json(path: str | Path) -> Any:
    """Returns the contents of a JSON file."""
    return json.loads(Path(path).read_text())


def write_json(path: str | Path, content: Any) -> None:
    """Writes a JSON file, and creates its folder if it is missing. A kill at any time leaves no half file.

    Raises:
      InputError: the file cannot be written.
    """
    path = Path(path)
    half = path.with_name(f".{path.name}.half")
    text = json.dumps(content, indent=2) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(text)
        os.replace(half, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def as_json(content: Any) -> Any:
    """Returns the content as `read_json` would give it back: tuples become lists."""
    return json.loads(json.dumps(content))
