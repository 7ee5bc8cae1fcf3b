"""`vjax split`: writes a manifest with a split that stays."""

import argparse
import shlex
from collections.abc import Sequence
from typing import Any

from vjax.cli.arguments import add_source, choose_source
from vjax.config import Config, check_config
from vjax.data.listing import check_listing, write_manifest
from vjax.data.sources import LISTINGS
from vjax.data.splits import split_files


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    default = Config()
    parser = commands.add_parser(
        "split",
        help="write a manifest with a split that stays",
        description="Splits a dataset into train and test, and writes the split as a manifest, to be kept and shared.",
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
        "--held-out", default="", metavar="GROUPS", help="groups that form the test split, comma-separated"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random split (default: 0)")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Writes the manifest, and prints how many videos each split has."""
    config = check_config(Config(test_share=args.test_share, seed=args.seed, held_out=args.held_out))
    listing = LISTINGS.create(choose_source(args.source, overrides))
    check_listing(listing)
    files, split = split_files(
        listing.files, given=listing.given, held_out=config.held_out, test_share=config.test_share, seed=config.seed
    )
    write_manifest(args.out, files)
    num_train = sum(file.split == "train" for file in files)
    print(f"{args.out}: {num_train:,} videos to train on, {len(files) - num_train:,} to test on; {split}")
    print(f"\ntrain on it: vjax train --config folder --config.source.root={shlex.quote(args.out)}")
