"""`vjax split`: writes a manifest with a split that stays."""

import argparse
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

from vjax.cli.arguments import add_source, choose_source
from vjax.config import Config, check_config
from vjax.data.listing import check_listing, write_manifest
from vjax.data.sources import list_dataset
from vjax.data.splits import split_files
from vjax.text import terminal_width, wrap


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    default = Config()
    parser = commands.add_parser(
        "split",
        help="write a manifest with a split that stays",
        description="Splits a dataset into train, val and test, and writes the split as a manifest to keep and share.",
    )
    add_source(parser)
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="CSV file to write; the videos must lie below its folder"
    )
    parser.add_argument(
        "--test-share",
        type=float,
        default=default.test_share,
        metavar="SHARE",
        help=f"share of each class that a random split puts into test (default: {default.test_share})",
    )
    parser.add_argument(
        "--val-share",
        type=float,
        default=default.val_share,
        metavar="SHARE",
        help=f"share of each class for validation, unless a validation split is given (default: {default.val_share})",
    )
    parser.add_argument(
        "--keep",
        default="",
        metavar="PATH",
        help="work directory of a run, or table of splits, whose split is kept; other videos join by a hash",
    )
    parser.add_argument(
        "--held-out", default="", metavar="GROUPS", help="groups that form the test split, comma-separated"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random split (default: 0)")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Writes the manifest, and prints how many videos each split has."""
    config = check_config(
        Config(
            seed=args.seed,
            held_out=args.held_out,
            test_share=args.test_share,
            val_share=args.val_share,
            keep_split=args.keep,
        )
    )
    listing = list_dataset(choose_source(args.source, overrides))
    check_listing(listing)
    files, split = split_files(listing.files, given=listing.given, rule=config.split_rule)
    write_manifest(args.out, files)
    counts = Counter(file.split for file in files)
    said = (
        f"{args.out}: {counts['train']:,} videos to train on, {counts['val']:,} to validate, {counts['test']:,} to "
        f"test on; {split}"
    )
    print(wrap(said, width=terminal_width()))
    print(f"\ntrain on it:\n  vjax train --config folder --config.source.root={shlex.quote(args.out)}")
