"""Your own videos: slow fusion from scratch on a folder of `class/video.ext`, or on a manifest.

    python train.py --config configs/folder.py --config.source.root=DIR_OR_CSV

A manifest is a CSV file with the columns `path,label[,split][,group]`. Without a given split, a fifth of each class
is set aside for test; videos of one group (a manifest's column, or what `source.group` finds in a path, such as
`(g[0-9]+)_c` for UCF101) stay together. Set `augment.flip` to False where mirroring would change a label.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        dict(
            seed=0,
            source=dict(name="videos", root="", group="", test_share=0.2, max_bad_share=0.1),
            held_out="",
            clip=dict(num_frames=16, size=112, fps=5.0),  # 3.2 seconds
            augment=dict(
                area=(0.5, 1.0), stretch=1.15, flip=True, rand_ops=0, rand_magnitude=9.0, jitter=0.0, erase=0.0
            ),
            mix=dict(mixup=0.0, cutmix=0.0),
            normalization=dict(mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225)),
            network=dict(
                name="slow_fusion",
                trunk=dict(name="small", widths=(16, 32, 64, 128), depth=1, norm="batch", remat=False),
                dropout=0.3,
                dtype="float32",
            ),
            init=dict(workdir="", checkpoint="newest"),
            optimizer=dict(name="adamw", learning_rate=5e-3, weight_decay=0.05, warmup=100, clip_norm=1.0),
            layer_rates="",
            label_smoothing=0.1,
            batch_size=16,
            length=2000,
            test=dict(num_clips=5, num_crops=1, batch_size=16),
            log_every=20,
            evaluate_every=500,
            checkpoint_every=100,
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
        clip=dict(num_frames=8, size=16),
        network=dict(trunk=dict(widths=(4, 8, 8))),
        optimizer=dict(warmup=1),
        test=dict(num_clips=2, batch_size=8),
        batch_size=8,
        length=4,
        log_every=1,
        evaluate_every=2,
        checkpoint_every=2,
    )
    return config
