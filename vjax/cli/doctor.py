"""`vjax doctor`: looks at a data set before training on it."""

import argparse
from collections.abc import Sequence
from typing import Any

from vjax.cli.arguments import add_source, choose_source
from vjax.config import Config
from vjax.config_file import load_config
from vjax.data.doctor import examine
from vjax.json_files import write_json


def add(commands: Any) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser("doctor", help="look at a data set before training on it")
    add_source(parser)
    parser.add_argument("--config", help="a config file, for its clip, augmentation and batch size")
    parser.add_argument("--json", metavar="FILE", help="write everything that was found")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Runs the command."""
    config = load_config(args.config) if args.config else Config()
    source = choose_source(args.source, overrides)
    found = examine(source, config.train_view, batch_size=config.batch_size)
    print(found.page())
    if args.json:
        write_json(args.json, found.facts | {"problems": found.problems})
