"""`vjax data-card`: writes what the doctor finds about a dataset as a page that travels with it."""

import argparse
import datetime
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vjax.cli.examined import add_examined, choose_examined, examine_chosen
from vjax.config import PATHS
from vjax.data.data_card import data_card
from vjax.json_files import check_writable, write_text
from vjax.runtime.versions import versions
from vjax.spec import Choice


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "data-card",
        help="write what the doctor finds about a dataset as an HTML page",
        description="Writes an HTML page that travels with a dataset and needs no network: its videos, classes and "
        "split, a clip of each class, and the problems that vjax doctor finds.",
    )
    add_examined(parser)
    parser.add_argument("--out", metavar="FILE.html", required=True, help="page to write")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Examines the dataset, writes the page and prints its path."""
    check_writable(args.out)
    source, config = choose_examined(args, overrides)
    found = examine_chosen(source, config)
    made_with = {"examined on": datetime.date.today().isoformat(), "examined with": f"vjax {versions()['vjax']}"}
    card = data_card(
        found,
        name=_name(source),
        root=source.options["root"],
        kept_split=config.keep_split,
        made_with=made_with,
    )
    write_text(args.out, card)
    print(args.out)


def _name(source: Choice) -> str:
    """Returns the name of a dataset with its options, or the name of its folder; no path."""
    if source.name == "videos":
        place = Path(os.path.abspath(os.path.expanduser(source.options["root"])))
        return place.name if place.is_dir() else place.parent.name
    options = [f"{key} {value}" for key, value in source.options.items() if key not in PATHS and value]
    return ", ".join([source.name, *options])
