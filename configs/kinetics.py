"""Kinetics with a 3D ResNet-18 from scratch: trained on train.csv, tested on val.csv.

    vjax prepare kinetics --source.root=DIR --fps 15 --out runs/data/kinetics400
    python train.py --config configs/kinetics.py --config.source.root=runs/data/kinetics400

Source: Kay et al. 2017. `DIR` holds the videos (`ID_SSSSSS_EEEEEE.mp4`) and the annotations; annotated videos that
are missing are counted and listed in `bad_videos.csv`. Cost: 40.7 G multiply-adds per clip and forward pass; we did not
measure the full run. Published, Kinetics-400: clip@1 52.75, video@1 63.20 for torchvision's R3D-18 (5 clips of 16
frames at 15 fps).
"""

from vjax.config import Choice, Clip, Config


def get_config() -> Config:
    return Config(
        source=Choice("kinetics", root=""),
        val_share=0.0,  # the published figures train on the whole training list
        max_bad_share=0.05,
        clip=Clip(fps=15.0),  # 1.1 seconds
        network=Choice("slow_fusion", backbone=Choice("resnet18"), dropout=0.3),
        optimizer=Choice("adamw", learning_rate=1e-3, warmup=1000),
        label_smoothing=0.1,
        batch_size=32,
        length="40 epochs",
        log_every=50,
        evaluate_every=5000,
        checkpoint_every=500,
    )
