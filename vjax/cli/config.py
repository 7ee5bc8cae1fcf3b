"""`vjax config`: shows every key of a config with its value."""

import argparse
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from vjax.cli.arguments import CONFIG_HELP, SET_A_KEY
from vjax.config_file import NO_DEFAULT, PREFIX, list_keys, load_config
from vjax.preprocessing import bind_preprocessing


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "config",
        help="show every key of a config",
        description="Shows every key of a config with its value, and the default where the value differs from it.",
    )
    parser.add_argument("file", metavar="FILE", help=CONFIG_HELP)
    parser.add_argument("--explain", action="store_true", help="also print a description of every key")
    parser.set_defaults(command=run, overridden=PREFIX)
    parser.epilog = SET_A_KEY


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Prints one line per key, and its description if asked for."""
    config, notes = bind_preprocessing(load_config(args.file, overrides))
    for key, value, default, what in list_keys(config):
        differs = "  (no default)" if default is NO_DEFAULT else f"  (default: {default!r})"
        print(f"{key} = {value!r}{'' if value == default else differs}")
        if args.explain:
            print(
                textwrap.fill(
                    what, width=shutil.get_terminal_size().columns, initial_indent="    ", subsequent_indent="    "
                )
            )
    for note in notes:
        print(note, file=sys.stderr)
