"""`vjax compare`: trains the five networks on the same data and budget."""

import argparse
from collections.abc import Sequence
from typing import Any

from vjax.cli.arguments import add_config
from vjax.compare import COLUMNS, compare
from vjax.config_file import load_config
from vjax.text import format_table


def add(commands: Any) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser("compare", help="train the five networks on the same data and budget")
    add_config(parser)
    parser.add_argument("--workdir", required=True, help="folder that the five runs and the table are kept in")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Runs the command."""
    rows = compare(load_config(args.config, overrides), args.workdir)
    print(format_table(COLUMNS, [[row[column] for column in COLUMNS] for row in rows]))
