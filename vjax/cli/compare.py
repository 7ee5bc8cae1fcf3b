"""`vjax compare`: trains the five fusion networks on the same data with the same budget, and compares them."""

import argparse
from collections.abc import Sequence
from typing import Any

from vjax.cli.arguments import add_config
from vjax.compare import COLUMNS, compare
from vjax.config_file import load_config
from vjax.text import format_table


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
    print(format_table(COLUMNS, [[row[column] for column in COLUMNS] for row in rows]))
