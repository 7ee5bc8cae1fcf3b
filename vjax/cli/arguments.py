"""Arguments that several commands share."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from vjax.config_file import PREFIX, override_choice
from vjax.data.folds import Folds
from vjax.data.sources import LISTINGS
from vjax.spec import Choice

SOURCE_PREFIX = "--source."
SET_A_KEY = "Set any key of the config with --config.KEY=VALUE, for example --config.length=1000."
CONFIG_HELP = "config file, or a name from `vjax configs`; FILE:tiny is small enough for a quick test"


def add_config(parser: argparse.ArgumentParser) -> None:
    """Adds --config FILE and --config.KEY=VALUE."""
    parser.add_argument("--config", required=True, metavar="FILE", help=CONFIG_HELP)
    parser.set_defaults(overridden=PREFIX)
    parser.epilog = SET_A_KEY


def add_folds(parser: argparse.ArgumentParser, *, default: Folds) -> None:
    """Adds --folds."""

    def parse(text: str) -> Folds:
        if text in ("group", "split"):
            return text
        if not text.isdecimal():
            raise argparse.ArgumentTypeError(f"must be a number or one of the words group and split, got {text!r}")
        return int(text)

    parser.add_argument(
        "--folds",
        type=parse,
        default=default,
        metavar="K",
        help="number of folds; group for a fold for each group (leave one subject out); split for the split of the "
        f"config alone (default: {default})",
    )


def add_networks(parser: argparse.ArgumentParser, *, default: str) -> None:
    """Adds --networks; `default` says what is trained without it."""
    parser.add_argument(
        "--networks",
        type=lambda text: text.split(","),
        default=[],
        metavar="A,B",
        help=f"networks to train on the same videos, comma-separated (default: {default})",
    )


def add_source(parser: argparse.ArgumentParser) -> None:
    """Adds SOURCE and --source.KEY=VALUE."""
    names = ", ".join(sorted(set(LISTINGS) - {"videos"}))
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help=f"folder with one folder of videos per class, CSV manifest, or dataset name: {names}",
    )
    parser.set_defaults(overridden=SOURCE_PREFIX)
    parser.epilog = (
        f"Set the options of a named dataset with {SOURCE_PREFIX}KEY=VALUE, for example {SOURCE_PREFIX}root=DIR."
    )


def choose_source(name: str, overrides: Sequence[str], *, like: Choice | None = None) -> Choice:
    """Returns the dataset that SOURCE stands for: plain videos by their path, or a dataset by its name.

    An existing path takes precedence, so a folder may be called "videos" or "ucf101".

    Args:
      name: SOURCE.
      overrides: texts of the form `--source.KEY=VALUE`.
      like: source of a config; if it has the same name, its options are the defaults.
    """
    is_path = Path(name).expanduser().exists() or name not in LISTINGS
    choice = Choice("videos", root=name) if is_path else Choice(name, root="")
    if like is not None and like.name == choice.name:
        choice = Choice(choice.name, **{**like.options, **(choice.options if is_path else {})})
    return override_choice(choice, LISTINGS, overrides, prefix=SOURCE_PREFIX)


def add_trained(parser: argparse.ArgumentParser) -> None:
    """Adds WORKDIR and --checkpoint."""
    parser.add_argument("workdir", metavar="WORKDIR", help="work directory of a training run")
    parser.add_argument(
        "--checkpoint",
        choices=("newest", "best"),
        default="newest",
        help="checkpoint to use; best has the highest video@1 on the validation split (default: newest)",
    )
