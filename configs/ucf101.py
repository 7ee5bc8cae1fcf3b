"""UCF101 with a 3D ResNet-18 from scratch, on one of the three official splits.

    vjax prepare ucf101 --source.root=DIR --source.split=1 --out runs/data/ucf101_1
    python train.py --config configs/ucf101.py --config.source.root=runs/data/ucf101_1

Source: Soomro et al. 2012; 9,537 training videos and 3,783 test videos (split 1). `DIR` holds the unpacked videos
and the official lists; `train.py` can also read it directly. Cost: 40.7 G multiply-adds per clip and forward pass; we
did not measure the full run. Published: 42.4 video@1 for R3D-18 from scratch on split 1 (Hara et al. 2018, "Can
spatiotemporal 3D CNNs retrace the history of 2D CNNs and ImageNet?").
"""

from vjax.config import Choice, Config


def get_config() -> Config:
    return Config(
        source=Choice("ucf101", root=""),
        val_share=0.0,  # the published figures train on the whole training list
        max_bad_share=0.01,
        network=Choice("slow_fusion", backbone=Choice("resnet18"), dropout=0.3),
        optimizer=Choice("adamw", learning_rate=1e-3, warmup=1000),
        label_smoothing=0.1,
        batch_size=32,
        length="100 epochs",
        log_every=50,
        evaluate_every=5000,
        checkpoint_every=500,
    )
