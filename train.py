"""Trains and evaluates a video network: python train.py --config configs/quickstart.py [--workdir DIR]."""

from vjax.__main__ import train_main
from vjax.processes import leave

if __name__ == "__main__":
    leave(train_main())
