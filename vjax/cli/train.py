"""`train.py`: trains and evaluates a video network."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from vjax import workdirs
from vjax.cli.arguments import add_config
from vjax.cli.output import print_metrics
from vjax.config_file import load_config
from vjax.run import train
from vjax.runtime.processes import join_processes, stop_signal


def make_parser() -> argparse.ArgumentParser:
    """Returns the arguments of `train.py`."""
    parser = argparse.ArgumentParser("train.py", description="Trains and evaluates a video network.")
    add_config(parser)
    parser.add_argument("--workdir", help="where the run is kept (default: runs/NAME OF THE CONFIG)")
    group = parser.add_argument_group("several processes", "None is needed under Slurm and Open MPI.")
    group.add_argument(
        "--coordinator", metavar="HOST:PORT", help="address of process 0; auto on a Cloud TPU pod, alone"
    )
    group.add_argument("--num_processes", type=int, help="how many processes the run has")
    group.add_argument("--process_id", type=int, help="number of this process, from 0")
    parser.set_defaults(command=run)
    return parser


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Runs the command."""
    config = load_config(args.config, overrides)
    join_processes(coordinator=args.coordinator, num_processes=args.num_processes, process_id=args.process_id)
    workdir = Path(args.workdir or Path("runs") / Path(args.config.partition(":")[0]).stem)
    was_finished = workdirs.finished_result(workdir) is not None
    with stop_signal() as should_stop:
        result = train(config, workdir, should_stop=should_stop)
    if jax.process_index() > 0:
        return
    if was_finished:
        print(f"{workdir} holds a finished run; choose another --workdir to train again", file=sys.stderr)
    print_metrics(result)
    print(f"\nwork directory: {workdir}")
