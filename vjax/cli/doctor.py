"""`vjax doctor`: checks a dataset before training."""

import argparse
from collections.abc import Sequence
from typing import Any

from vjax.cli.arguments import add_source, choose_source
from vjax.config import Config
from vjax.config_file import load_config
from vjax.data.doctor import examine
from vjax.json_files import write_json
from vjax.text import printable, terminal_width


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "doctor",
        help="check a dataset before training",
        description="Checks a dataset before training: unreadable and duplicate videos, the split, reading speed.",
    )
    add_source(parser)
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="config file with the clip, augmentation and batch size to assume (default: those of the default config)",
    )
    parser.add_argument("--json", metavar="FILE", help="also write all results to this JSON file")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Examines the dataset and prints one page about it."""
    config = load_config(args.config) if args.config else Config()
    source = choose_source(args.source, overrides)
    found = examine(source, config.train_view, batch_size=config.batch_size)
    print(printable(found.page(width=terminal_width())))
    if args.json:
        write_json(args.json, found.facts | {"problems": found.problems})
