"""Trains a video network: python train.py --config configs/quickstart.py [--workdir DIR] [--config.KEY=VALUE ...]."""

import sys

from vjax.__main__ import train_command

if __name__ == "__main__":
    sys.exit(train_command(sys.argv[1:]))
