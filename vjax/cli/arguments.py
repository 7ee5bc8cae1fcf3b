"""Arguments that several commands have."""

import argparse
from collections.abc import Sequence

from vjax.config_file import PREFIX, override_choice
from vjax.data.sources import LISTINGS
from vjax.spec import Choice

SOURCE_PREFIX = "--source."
SET_A_KEY = "Any key of the config is set by --config.KEY=VALUE, for example --config.length=1000."


def add_config(parser: argparse.ArgumentParser) -> None:
    """Adds --config FILE and --config.KEY=VALUE."""
    parser.add_argument("--config", required=True, help="a config file; FILE:tiny for its smallest version")
    parser.set_defaults(overridden=PREFIX)
    parser.epilog = SET_A_KEY


def add_source(parser: argparse.ArgumentParser) -> None:
    """Adds SOURCE and --source.KEY=VALUE."""
    names = ", ".join(sorted(set(LISTINGS) - {"videos"}))
    parser.add_argument("source", metavar="SOURCE", help=f"a folder, a manifest, or a data set by name: {names}")
    parser.set_defaults(overridden=SOURCE_PREFIX)
    parser.epilog = (
        f"A data set by name takes its options as {SOURCE_PREFIX}KEY=VALUE, for example {SOURCE_PREFIX}root=DIR."
    )


def choose_source(name: str, overrides: Sequence[str]) -> Choice:
    """Returns the data set that SOURCE names: by the name of a listing, or by the root of plain videos."""
    choice = Choice(name, root="") if name in LISTINGS else Choice("videos", root=name)
    return override_choice(choice, LISTINGS, overrides, prefix=SOURCE_PREFIX)


def add_trained(parser: argparse.ArgumentParser) -> None:
    """Adds WORKDIR and --checkpoint."""
    parser.add_argument("workdir", metavar="WORKDIR", help="the work directory of a training run")
    parser.add_argument(
        "--checkpoint",
        choices=("newest", "best"),
        default="newest",
        help="which checkpoint is used; best had the highest video@1 on the test split (default: newest)",
    )
