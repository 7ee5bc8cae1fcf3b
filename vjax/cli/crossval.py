"""`vjax crossval`: trains and tests a config on folds of its videos, and prints one result over all videos."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from vjax.cli.arguments import add_config, add_folds, add_networks
from vjax.cli.output import class_table
from vjax.config_file import load_config
from vjax.cross_validation import RESULT_FILE, crossval
from vjax.runtime.processes import stop_signal
from vjax.text import format_table, printable, terminal_width, wrap


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "crossval",
        help="train and test on folds of the videos",
        description="Trains a network on each fold of the videos and tests it on the others, so that every video is "
        "tested once. Groups are kept together. If it is interrupted, the same command continues it.",
    )
    add_config(parser)
    parser.add_argument("--workdir", required=True, metavar="DIR", help=f"directory for the runs and {RESULT_FILE}")
    add_folds(parser, default=5)
    parser.add_argument(
        "--repeats", type=int, default=1, metavar="N", help="times that all folds are drawn and trained (default: 1)"
    )
    add_networks(parser, default="that of the config")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Trains and tests on all folds, and prints the tables."""
    config = load_config(args.config, overrides)
    with stop_signal() as should_stop:
        found = crossval(
            config,
            args.workdir,
            folds=args.folds,
            repeats=args.repeats,
            networks=args.networks,
            should_stop=should_stop,
        )
    if jax.process_index() == 0:
        print(printable(describe(found, width=terminal_width())))


def describe(found: Mapping[str, Any], *, width: int) -> str:
    """Returns the tables of a cross-validation: its runs, its networks and their classes.

    Args:
      found: what `crossval` returns.
      width: columns of the terminal.
    """
    runs = [
        [network["network"], run["repeat"], run["fold"], run["num_videos"], run["video@1"]]
        for network in found["networks"]
        for run in network["folds"]
    ]
    networks = [
        [
            network["network"],
            network["video@1"],
            "{:.3f}-{:.3f}".format(*network["video@1_interval"]),
            network["mean_class"],
        ]
        for network in found["networks"]
    ]
    paragraphs = [format_table(["network", "repeat", "tested", "videos", "video@1"], runs)]
    for network in found["networks"]:
        counts = {key: network[key] for key in ("confusion", "class_accuracy")}
        table = class_table(counts | {"class_names": found["class_names"]}, width=width)
        paragraphs.append(f"{network['network']}:\n{table}")
    of_groups = f" of {found['num_groups']} groups" if found["num_groups"] else ""
    said = f"chance {found['chance']:.3f}; {found['num_videos']:,} videos{of_groups}; {found['protocol']}"
    paragraphs.append(format_table(["network", "video@1", "95 % interval", "mean_class"], networks))
    paragraphs.append(wrap(said, width=width))
    return "\n\n".join(paragraphs)
