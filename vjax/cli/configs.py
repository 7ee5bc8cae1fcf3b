"""`vjax configs`: lists the configs that come with vjax."""

import argparse
import ast
from collections.abc import Sequence
from typing import Any

from vjax.config_file import shipped_configs
from vjax.text import terminal_width, wrap


def add(commands: Any) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "configs",
        help="list the configs that come with vjax",
        description="Lists the configs that come with vjax: the name that --config takes, and what it trains.",
    )
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, _: Sequence[str]) -> None:
    """Prints a line for each config."""
    del args
    files = shipped_configs()
    width = max(map(len, files))
    for name, path in files.items():
        described = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
        print(wrap(f"{name:{width}}  {described}".rstrip(), width=terminal_width(), hang=width + 2))
