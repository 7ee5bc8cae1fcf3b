"""Output that several commands share."""

from collections.abc import Mapping
from typing import Any

from vjax.text import format_table

_METRICS = ("clip@1", "video@1", "video@5", "loss", "chance", "num_videos", "bad_videos", "bad_train_videos")


def print_metrics(result: Mapping[str, Any]) -> None:
    """Prints the metrics of a result, how far they can be trusted, and the protocol that they were measured with."""
    print(format_table(["result", "value"], [[name, result[name]] for name in _METRICS if name in result]))
    if "video@1_interval" in result:  # results of older versions have none
        low, high = result["video@1_interval"]
        print(f"\nvideo@1 lies between {low:.3f} and {high:.3f} (95 % interval, {result['num_videos']} test videos)")
    for note in result.get("notes", ()):
        print(note)
    print(f"\n{result['protocol']}")
