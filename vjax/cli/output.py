"""Output that several commands share."""

from collections.abc import Mapping
from typing import Any

from vjax.text import format_table

_METRICS = ("clip@1", "video@1", "video@5", "loss", "num_videos", "bad_videos")


def print_metrics(result: Mapping[str, Any]) -> None:
    """Prints the metrics of a result and the protocol that they were measured with."""
    print(format_table(["result", "value"], [[name, result[name]] for name in _METRICS]))
    print(f"\n{result['protocol']}")
