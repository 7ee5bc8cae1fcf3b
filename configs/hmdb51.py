"""HMDB51 with a 3D ResNet-18 from scratch, on one of the three official splits.

    vjax prepare hmdb51 --source.root=DIR --source.split=1 --out runs/data/hmdb51_1
    python train.py --config configs/hmdb51.py --config.source.root=runs/data/hmdb51_1

Source: Kuehne et al. 2011; 3,570 training videos and 1,530 test videos. `DIR` holds the unpacked videos and the
official lists `CLASS_test_split1.txt`; `train.py` can also read it directly. Cost: 40.7 G multiply-adds per clip and
forward pass; we did not measure the full run. Published: 17.1 video@1 for R3D-18 from scratch on split 1 (Hara et al.
2018).
"""

from vjax.config import Choice, Config


def get_config() -> Config:
    return Config(
        source=Choice("hmdb51", root=""),
        val_share=0.0,  # the published figures train on the whole training list
        max_bad_share=0.01,
        network=Choice("slow_fusion", backbone=Choice("resnet18"), dropout=0.3),
        optimizer=Choice("adamw", learning_rate=1e-3, warmup=1000),
        label_smoothing=0.1,
        batch_size=32,
        length="130 epochs",
        log_every=50,
        evaluate_every=5000,
        checkpoint_every=500,
    )
