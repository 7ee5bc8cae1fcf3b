"""A first run: slow fusion on generated videos whose label is their motion.

Source: generated on first use (vjax/data/datasets/moving_shapes.py); nothing is downloaded.
"""

from vjax.config import Augment, Choice, Clip, Config, Testing


def get_config() -> Config:
    return Config(
        source=Choice("moving_shapes", data_dir="runs/data", num_test=200, num_val=200),
        clip=Clip(num_frames=8, size=32, stride=1),
        augment=Augment(scale=(0.6, 1.0), flip=False),  # a flip would swap left and right motion
        optimizer=Choice("adamw", learning_rate=5e-3, warmup=50),
        length=900,
        test=Testing(num_clips=3),
        log_every=50,
        evaluate_every=900,
        checkpoint_every=300,
    )
