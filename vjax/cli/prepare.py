"""`vjax prepare`: decodes videos once, for fast training."""

import argparse
import functools
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from vjax.cli.arguments import add_source, choose_source
from vjax.data import prepare
from vjax.data.sources import LISTINGS
from vjax.text import Progress


def add(commands: Any) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser("prepare", help="decode videos once, for fast training")
    add_source(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the store")
    parser.add_argument("--short-side", type=int, default=128, help="pixels of a frame's shorter side (default: 128)")
    parser.add_argument("--fps", type=float, help="frames per second to keep (default: all)")
    parser.add_argument("--quality", type=int, default=90, help="JPEG quality of the frames, 1 to 100 (default: 90)")
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count(),
        help="how many processes decode; 0 decodes in this one (default: one for each core)",
    )
    parser.add_argument("--runner", help="an Apache Beam runner, in place of --workers: DirectRunner, FlinkRunner ...")
    parser.add_argument("--runner-args", default="", help="arguments of the Beam runner, in one string")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Runs the command."""
    source = choose_source(args.source, overrides)
    options = prepare.Options(args.short_side, args.fps, args.quality)
    if args.runner:
        runner = functools.partial(prepare.run_beam, runner=args.runner, arguments=shlex.split(args.runner_args))
    elif args.workers:
        runner = functools.partial(prepare.run_in_processes, num_workers=args.workers)
    else:
        runner = prepare.run_here
    with Progress(sys.stderr, unit="video") as progress:
        done = prepare.prepare(LISTINGS.create(source), source, args.out, options, run=runner, advance=progress.advance)
    print(f"{done.num_videos:,} videos, {done.num_bytes / 1e6:,.0f} MB, in {args.out}; {done.num_bad} left out")
    if done.num_bad:
        print(f"{args.out}/index.csv says why, in its last column")
    config = "folder" if source.name == "videos" else source.name
    print(f"\ntrain on it: python train.py --config configs/{config}.py --config.source.root={args.out}")
