"""The `vjax` command and the command of `train.py`."""

import argparse
from collections.abc import Sequence

from vjax.cli import (
    benchmark,
    compare,
    config,
    configs,
    crossval,
    data_card,
    describe,
    doctor,
    evaluate,
    export,
    features,
    filter,
    models,
    predict,
    prepare,
    report,
    split,
    train,
    weights,
)
from vjax.cli.boundary import run_command

# In the order in which a new user needs them; each module has `add(commands)`.
COMMANDS = (
    doctor, data_card, split, prepare, train, evaluate, predict, report, export, benchmark, features, crossval, compare,
    describe, configs, config, models, weights, filter,
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the `vjax` command; returns its exit code."""
    return run_command(make_parser(), argv)


def train_main(argv: Sequence[str] | None = None) -> int:
    """Runs `train.py`; returns its exit code."""
    return run_command(train.make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Returns the argument parser of the `vjax` command."""
    parser = argparse.ArgumentParser(
        "vjax",
        description="Video classification in JAX/Flax.",
        epilog="For the options of a command: vjax COMMAND --help.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser
