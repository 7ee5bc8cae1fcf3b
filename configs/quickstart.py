"""The first run: slow fusion on made videos whose label is their motion.

Source: made on the spot (vjax/data/datasets/moving_shapes.py); nothing is downloaded.
"""

from vjax.config import Augment, Choice, Clip, Config, Testing


def get_config() -> Config:
    return Config(
        source=Choice("moving_shapes", data_dir="runs/data", label="motion", num_train=2000, num_test=200),
        clip=Clip(num_frames=8, size=32, stride=1),
        augment=Augment(scale=(0.6, 1.0), flip=False),  # a flip would turn left into right
        network=Choice("slow_fusion", backbone=Choice("small", widths=(16, 32, 64))),
        optimizer=Choice("adamw", learning_rate=5e-3, weight_decay=0.05, warmup=50, clip_norm=1.0),
        length=900,
        test=Testing(num_clips=3),
        log_every=50,
        evaluate_every=900,
        checkpoint_every=300,
    )
