"""The `vjax` command and the front door `train.py`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vjax import run
from vjax.config import load_config
from vjax.errors import InputError


def train_command(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("train.py")
    parser.add_argument("--config")
    parser.add_argument("--workdir")
    args, overrides = parser.parse_known_args(argv)
    try:
        config = load_config(args.config, overrides)
        result = run.train(config, args.workdir or Path("runs") / Path(args.config).stem)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(result)
    return 0
