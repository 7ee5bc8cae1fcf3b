"""`vjax doctor`: checks a dataset before training."""

import argparse
import collections
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vjax.cli.examined import add_examined, choose_examined, examine_chosen
from vjax.data.listing import write_manifest
from vjax.data.store import is_store
from vjax.errors import InputError
from vjax.json_files import check_writable, write_json
from vjax.text import printable, terminal_width


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "doctor",
        help="check a dataset before training",
        description="Checks a dataset before training: unreadable and duplicate videos, the split, reading speed.",
    )
    add_examined(parser)
    parser.add_argument(
        "--propose-groups",
        metavar="FILE.csv",
        help="also write a manifest next to the videos, with the groups; if the videos have none, with proposed ones: "
        "videos that seem to be of one camera and place",
    )
    parser.add_argument("--json", metavar="FILE", help="also write all results to this JSON file")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Examines the dataset and prints one page about it."""
    for path in filter(None, (args.json, args.propose_groups)):
        check_writable(path)
    source, config = choose_examined(args, overrides)
    if args.propose_groups:
        _check_manifest(Path(args.propose_groups), source.options["root"])
    found = examine_chosen(source, config)
    print(printable(found.page(width=terminal_width())))
    if args.json:
        write_json(args.json, found.facts | {"problems": found.problems})
    if args.propose_groups:
        write_manifest(args.propose_groups, found.files)
        sizes = collections.Counter(file.group for file in found.files if file.group)
        print(f"\n{args.propose_groups}: {len(sizes):,} groups of {sizes.total():,} of {len(found.files):,} videos")


def _check_manifest(path: Path, root: str) -> None:
    """Raises an InputError if a manifest of the videos in `root` cannot be written to `path`."""
    if path.exists():
        raise InputError(f"{path}: the file exists; give another name, or remove it")
    if is_store(root):
        raise InputError(f"{root} is a store, which has no files for a manifest; give the videos it was made of")
    place = Path(os.path.abspath(os.path.expanduser(root)))
    folder = place if place.is_dir() else place.parent
    if not folder.is_relative_to(os.path.abspath(path.parent)):
        raise InputError(
            f"{path}: the videos lie outside of its folder; write the manifest next to them, into {folder}"
        )
