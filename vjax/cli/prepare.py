"""`vjax prepare`: decodes videos once, for fast training."""

import argparse
import functools
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from vjax.cli.arguments import add_source, choose_source
from vjax.config import PATHS
from vjax.data import prepare
from vjax.data.sources import LISTINGS, list_dataset
from vjax.text import Progress


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "prepare",
        help="decode videos once, for fast training",
        description="Decodes every video once and stores its frames as small JPEGs, so that training reads them fast. "
        "If it is interrupted, the same command continues where it stopped.",
    )
    add_source(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write the prepared videos to")
    parser.add_argument(
        "--short-side",
        type=int,
        default=128,
        metavar="PIXELS",
        help="shorter side of the stored frames in pixels; smaller frames are not enlarged (default: 128)",
    )
    parser.add_argument("--fps", type=float, help="frames per second to keep (default: all frames)")
    parser.add_argument(
        "--quality", type=int, default=90, metavar="N", help="JPEG quality of the frames, 1 to 100 (default: 90)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count(),
        metavar="N",
        help="number of worker processes; 0 decodes in the main process (default: one per core)",
    )
    parser.add_argument("--runner", help="Apache Beam runner to use instead of --workers, such as DirectRunner")
    parser.add_argument("--runner-args", default="", help="arguments of the Beam runner, as one string")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Prepares the videos, and prints the command that trains on them."""
    source = choose_source(args.source, overrides)
    options = prepare.Options(args.short_side, args.fps, args.quality)
    if args.runner:
        runner = functools.partial(prepare.run_beam, runner=args.runner, arguments=shlex.split(args.runner_args))
    elif args.workers:
        runner = functools.partial(prepare.run_in_processes, num_workers=args.workers)
    else:
        runner = prepare.run_here
    with Progress(sys.stderr, unit="video") as progress:
        done = prepare.prepare(list_dataset(source), source, args.out, options, run=runner, advance=progress.advance)
    print(f"{done.num_videos:,} videos, {done.num_bytes / 1e6:,.0f} MB, in {args.out}; {done.num_bad} left out")
    if done.num_bad:
        print(f"the last column of {args.out}/index.csv gives the reasons")
    config = "folder" if source.name == "videos" else source.name
    defaults = {key: option.default for key, option in LISTINGS.options(source.name).items()}
    given = {key: value for key, value in source.options.items() if key not in PATHS and value != defaults[key]}
    words = [f"--config.source.{key}={shlex.quote(str(value))}" for key, value in ({"root": args.out} | given).items()]
    print(f"\ntrain on it:\n  vjax train --config {config} {' '.join(words)}")
