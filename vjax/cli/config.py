"""`vjax config`: shows every key of a config."""

import argparse
from collections.abc import Sequence
from typing import Any

from vjax.config import NO_DEFAULT, PREFIX, list_keys, load_config


def add(commands: Any) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser("config", help="show every key of a config, and which differ from the default")
    parser.add_argument("file", metavar="FILE", help="a config file; FILE:tiny for its smallest version")
    parser.set_defaults(command=run, overridden=PREFIX)
    parser.epilog = "Any key of the config is set by --config.KEY=VALUE, for example --config.length=1000."


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Runs the command."""
    for key, value, default in list_keys(load_config(args.file, overrides)):
        differs = "  (no default)" if default is NO_DEFAULT else f"  (default: {default!r})"
        print(f"{key} = {value!r}{'' if value == default else differs}")
