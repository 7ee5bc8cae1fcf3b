"""Trains and evaluates a video network: python train.py --config configs/quickstart.py [--workdir DIR]."""

import sys

from vjax.__main__ import train_main

if __name__ == "__main__":
    sys.exit(train_main())
