"""`vjax compare`: trains the five fusion networks on the same data with the same budget, and compares them."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from vjax.cli.arguments import add_config
from vjax.compare import compare
from vjax.config_file import load_config
from vjax.text import compact, format_table, terminal_width, wrap

_LEGEND = (
    "interval: 95 %, of video@1; shuffled: video@1 with the frames of every test clip in random order; MACs: "
    "multiply-adds of a clip"
)


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "compare",
        help="train the five fusion networks and compare them",
        description="Trains the five fusion networks on the same data with the same budget, and prints one table.",
    )
    add_config(parser)
    parser.add_argument("--workdir", required=True, metavar="DIR", help="directory for the five runs and the table")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Trains the five networks and prints the table."""
    rows = compare(load_config(args.config, overrides), args.workdir)
    print(describe(rows, width=terminal_width()))


def describe(rows: Sequence[Mapping[str, Any]], *, width: int) -> str:
    """Returns the table of a comparison, and below it what the numbers mean.

    Args:
      rows: rows that `compare` returns.
      width: columns of the terminal.
    """
    cells = [
        [
            row["network"],
            row["video@1"],
            "{:.3f}-{:.3f}".format(*row["interval"]),
            row["video@1_shuffled"],
            compact(row["parameters"]),
            compact(row["multiply_adds"]),
            row["ms_per_clip"],
        ]
        for row in rows
    ]
    test = rows[0]  # the same for all networks
    return "\n".join(
        [
            format_table(["network", "video@1", "interval", "shuffled", "params", "MACs", "ms/clip"], cells),
            "",
            wrap(f"chance {test['chance']:.3f}; {test['num_videos']:,} test videos; {test['protocol']}", width=width),
            wrap(_LEGEND, width=width),
        ]
    )
