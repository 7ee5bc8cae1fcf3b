"""Trains and evaluates a video network: python train.py --config configs/quickstart.py [--workdir DIR]."""

from vjax.start import train

if __name__ == "__main__":
    train()
