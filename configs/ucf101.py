"""UCF101 with a 3D ResNet-18 from scratch, on one of the three official splits.

    vjax prepare ucf101 --source.root=DIR --source.split=1 --out runs/data/ucf101_1
    python train.py --config configs/ucf101.py --config.source.root=runs/data/ucf101_1

Source: Soomro et al. 2012; 9,537 videos to train on and 3,783 to test on (split 1). `DIR` holds the unpacked videos
and the official lists; it may also be trained on directly. Cost: 40.7 G multiply-adds a clip and pass; the whole run
was not measured by us. Published: 42.4 video@1 for R3D-18 from scratch on split 1 (Hara et al. 2018, "Can
spatiotemporal 3D CNNs retrace the history of 2D CNNs and ImageNet?").
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        dict(
            seed=0,
            source=dict(name="ucf101", root="", split=1, max_bad_share=0.01),
            held_out="",
            clip=dict(num_frames=16, size=112, fps=5.0),  # 3.2 seconds
            augment=dict(
                area=(0.5, 1.0), stretch=1.15, flip=True, rand_ops=0, rand_magnitude=9.0, jitter=0.0, erase=0.0
            ),
            mix=dict(mixup=0.0, cutmix=0.0),
            normalization=dict(mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225)),
            network=dict(
                name="slow_fusion",
                trunk=dict(name="resnet18", widths=(64, 128, 256, 512), norm="batch", remat=False),
                dropout=0.3,
                dtype="float32",
            ),
            init=dict(workdir="", checkpoint="newest"),
            optimizer=dict(name="adamw", learning_rate=1e-3, weight_decay=0.05, warmup=1000, clip_norm=1.0),
            layer_rates="",
            label_smoothing=0.1,
            batch_size=32,
            length="100 epochs",
            test=dict(num_clips=5, num_crops=1, batch_size=16),
            log_every=50,
            evaluate_every=5000,
            checkpoint_every=500,
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
        network=dict(trunk=dict(name="small", widths=(4, 8, 8))),
        optimizer=dict(warmup=1),
        test=dict(num_clips=2, batch_size=8),
        batch_size=8,
        length="4 steps",
        log_every=1,
        evaluate_every=2,
        checkpoint_every=2,
    )
    return config
