"""The first run: slow fusion on made videos whose label is their motion.

Source: made on the spot (vjax/data/datasets/moving_shapes.py), nothing is downloaded.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.source = dict(name="moving_shapes", data_dir="runs/data", label="motion", num_train=2000, num_test=200)
    config.held_out = ""
    config.clip = dict(num_frames=8, size=32, stride=1)
    config.augment = dict(area=(0.6, 1.0), stretch=1.15, flip=False)  # a flip would turn left into right
    config.normalization = dict(mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225))
    config.network = dict(name="slow_fusion", dropout=0.0, dtype="float32")
    config.network.trunk = dict(name="small", widths=(16, 32, 64), depth=1, norm="batch")
    config.optimizer = dict(name="adamw", learning_rate=5e-3, weight_decay=0.05, warmup_steps=50, clip_norm=1.0)
    config.label_smoothing = 0.0
    config.batch_size = 16
    config.num_steps = 600
    config.test = dict(num_clips=3, num_crops=1, batch_size=16)
    config.log_every = 50
    config.evaluate_every = 600
    config.checkpoint_every = 200
    config.num_workers = 0
    return config


def tiny() -> ConfigDict:
    """Returns the same, small enough for a test."""
    config = get_config()
    config.source.update(num_train=16, num_test=8)
    config.network.trunk.widths = (4, 8, 8)
    config.optimizer.warmup_steps = 1
    config.update(batch_size=8, num_steps=4, log_every=1, evaluate_every=2, checkpoint_every=2)
    config.test.batch_size = 8
    return config
