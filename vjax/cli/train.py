"""`train.py` and `vjax train`: trains and evaluates a video network."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from vjax import workdirs
from vjax.cli.arguments import add_config
from vjax.cli.output import print_result
from vjax.config_file import load_config
from vjax.run import train
from vjax.runtime.processes import join_processes, stop_signal
from vjax.text import terminal_width, wrap

_DESCRIPTION = "Trains a video network and evaluates it. If a run is interrupted, the same command continues it."

_PICTURES = ("confusion.png", "curves.png", "first_batch.gif")


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    _add_arguments(commands.add_parser("train", help="train a network and evaluate it", description=_DESCRIPTION))


def make_parser() -> argparse.ArgumentParser:
    """Returns the argument parser of `train.py`."""
    parser = argparse.ArgumentParser("train.py", description=_DESCRIPTION)
    _add_arguments(parser)
    return parser


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "--workdir", metavar="DIR", help="directory of the run (default: runs/NAME, by the name of the config)"
    )
    group = parser.add_argument_group(
        "several processes", "Each process of such a run needs all three options. Slurm and Open MPI need none of them."
    )
    group.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="address of process 0; on a Cloud TPU pod, give auto and omit the other two options",
    )
    group.add_argument("--num_processes", type=int, metavar="N", help="number of processes of the run")
    group.add_argument("--process_id", type=int, metavar="N", help="index of this process, starting at 0")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Trains, or returns the result of a finished run; prints the result."""
    config = load_config(args.config, overrides)
    join_processes(coordinator=args.coordinator, num_processes=args.num_processes, process_id=args.process_id)
    workdir = Path(args.workdir) if args.workdir else default_workdir(args.config)
    was_finished = workdirs.finished_result(workdir, length=config.length) is not None
    with stop_signal() as should_stop:
        result = train(config, workdir, should_stop=should_stop)
    if jax.process_index() > 0:
        return
    if was_finished:
        finished = (
            f"{workdir} holds a finished run. Choose another --workdir to train again, or continue this one with a "
            "longer --config.length"
        )
        print(wrap(finished, width=terminal_width()), file=sys.stderr)
    print_result(result)
    place = shlex.quote(str(workdir))
    print(f"\nwork directory: {workdir}")
    pictures = [name for name in _PICTURES if (workdir / name).exists()]
    if pictures:  # runs of older versions have fewer
        print(f"pictures in it: {', '.join(pictures)}")
    print(f"next: vjax evaluate {place} --clips 10\n      vjax predict {place} VIDEO")


def default_workdir(config: str) -> Path:
    """Returns the work directory of a config's run; a tiny version has its own.

    >>> str(default_workdir("configs/folder.py")), str(default_workdir("folder:tiny"))
    ('runs/folder', 'runs/folder_tiny')
    """
    file, _, function = config.partition(":")
    return Path("runs") / "_".join(filter(None, [Path(file).stem, function]))
