"""`vjax config`: shows every key of a config."""

import argparse
import textwrap
from collections.abc import Sequence
from typing import Any

from vjax.cli.arguments import SET_A_KEY
from vjax.config_file import NO_DEFAULT, PREFIX, list_keys, load_config


def add(commands: Any) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser("config", help="show every key of a config, and which differ from the default")
    parser.add_argument("file", metavar="FILE", help="a config file; FILE:tiny for its smallest version")
    parser.add_argument("--explain", action="store_true", help="say of every key what it is")
    parser.set_defaults(command=run, overridden=PREFIX)
    parser.epilog = SET_A_KEY


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Runs the command."""
    for key, value, default, what in list_keys(load_config(args.file, overrides)):
        differs = "  (no default)" if default is NO_DEFAULT else f"  (default: {default!r})"
        print(f"{key} = {value!r}{'' if value == default else differs}")
        if args.explain:
            print(textwrap.fill(what, width=100, initial_indent="    ", subsequent_indent="    "))
