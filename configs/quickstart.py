"""The first run: slow fusion on made videos whose label is their motion.

Source: made on the spot (vjax/data/datasets/moving_shapes.py); nothing is downloaded.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        dict(
            seed=0,
            source=dict(name="moving_shapes", data_dir="runs/data", label="motion", num_train=2000, num_test=200),
            held_out="",
            clip=dict(num_frames=8, size=32, stride=1),
            # A flip would turn left into right.
            augment=dict(
                area=(0.6, 1.0), stretch=1.15, flip=False, rand_ops=0, rand_magnitude=9.0, jitter=0.0, erase=0.0
            ),
            mix=dict(mixup=0.0, cutmix=0.0),
            normalization=dict(mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225)),
            network=dict(
                name="slow_fusion",
                trunk=dict(name="small", widths=(16, 32, 64), depth=1, norm="batch", remat=False),
                dropout=0.0,
                dtype="float32",
            ),
            init=dict(workdir="", checkpoint="newest"),
            optimizer=dict(name="adamw", learning_rate=5e-3, weight_decay=0.05, warmup=50, clip_norm=1.0),
            layer_rates="",
            label_smoothing=0.0,
            batch_size=16,
            length=900,
            test=dict(num_clips=3, num_crops=1, batch_size=16),
            log_every=50,
            evaluate_every=900,
            checkpoint_every=300,
            num_workers=0,
            data_timeout_s=600.0,
            sharding="data",
            accumulate=1,
            ema_decay=0.0,
            skip_bad=False,
            wandb_project="",
            profile=dict(start=0, num_steps=0),
        )
    )


def tiny() -> ConfigDict:
    """Returns the same, small enough for a test."""
    config = get_config()
    config.update(
        source=dict(num_train=16, num_test=8),
        network=dict(trunk=dict(widths=(4, 8, 8))),
        optimizer=dict(warmup=1),
        test=dict(batch_size=8),
        batch_size=8,
        length=4,
        log_every=1,
        evaluate_every=2,
        checkpoint_every=2,
    )
    return config
