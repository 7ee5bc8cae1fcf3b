"""What several commands print and write."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vjax.errors import InputError
from vjax.text import format_table

_METRICS = ("clip@1", "video@1", "video@5", "loss", "num_videos", "bad_videos")


def print_metrics(result: Mapping[str, Any]) -> None:
    """Prints the numbers of a result and what they were measured on."""
    print(format_table(["result", "value"], [[name, result[name]] for name in _METRICS]))
    print(f"\n{result['protocol']}")


def write_json(path: str, content: Any) -> None:
    """Writes a file that a person asked for.

    Raises:
      InputError: it cannot be written.
    """
    try:
        Path(path).write_text(json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
