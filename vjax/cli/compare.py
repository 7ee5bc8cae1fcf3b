"""`vjax compare`: trains networks on the same data with the same budget, and compares them."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from vjax.cli.arguments import add_config, add_folds, add_networks
from vjax.compare import RESULT_FILE, compare
from vjax.config_file import load_config
from vjax.runtime.processes import stop_signal
from vjax.text import compact, format_table, printable, terminal_width, wrap

_LEGEND = (
    "interval: 95 %, of video@1; shuffled: video@1 with the frames of every test clip in random order; MACs: "
    "multiply-adds of a clip"
)


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "compare",
        help="train networks on the same data and compare them",
        description="Trains the five fusion networks, or others, on the same data with the same budget; prints one "
        "table, and which network is enough. If it is interrupted, the same command continues it.",
    )
    add_config(parser)
    parser.add_argument("--workdir", required=True, metavar="DIR", help=f"directory for the runs and {RESULT_FILE}")
    add_networks(parser, default="the five fusion networks")
    add_folds(parser, default="split")
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="runs of each network, each with another seed (default: 1)"
    )
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Trains and tests the networks, and prints the table and the verdict."""
    config = load_config(args.config, overrides)
    with stop_signal() as should_stop:
        found = compare(
            config,
            args.workdir,
            networks=args.networks,
            folds=args.folds,
            seeds=args.seeds,
            should_stop=should_stop,
        )
    if jax.process_index() == 0:
        print(printable(describe(found, width=terminal_width())))


def describe(found: Mapping[str, Any], *, width: int) -> str:
    """Returns the table of a comparison, what the numbers mean, and the verdict.

    Args:
      found: what `compare` returns.
      width: columns of the terminal.
    """
    cells = [
        [
            row["network"],
            row["video@1"],
            "{:.3f}-{:.3f}".format(*row["video@1_interval"]),
            row["motion"]["probes"]["shuffled"]["video@1"],
            compact(row["parameters"]),
            compact(row["multiply_adds"]),
            row["ms_per_clip"],
        ]
        for row in found["networks"]
    ]
    columns = ["network", "video@1", "interval", "shuffled", "params", "MACs", "ms/clip"]
    of_groups = f" of {found['num_groups']} groups" if found["num_groups"] else ""
    test = f"chance {found['chance']:.3f}; {found['num_videos']:,} test videos{of_groups}; {found['protocol']}"
    return "\n".join(
        [
            format_table(columns, cells),
            "",
            wrap(test, width=width),
            wrap(_LEGEND, width=width),
            "",
            *(wrap(line, width=width) for line in found["verdict"]),
        ]
    )
