"""Something-Something V2 with a 3D ResNet-18 from scratch: what matters is which way things move.

    vjax prepare something_something --source.root=DIR --out runs/data/something_something
    python train.py --config configs/something_something.py --config.source.root=runs/data/something_something

Source: Goyal et al. 2017; 168,913 videos to train on and 24,777 to test on, 174 classes. `DIR` holds the videos
(`ID.webm`), `train.json` and `validation.json`. Clips are not mirrored: "from left to right" is a class. Cost: 40.7 G
multiply-adds a clip and pass; the whole run was not measured by us. Published: we know of no figure for R3D-18 from
scratch, and give none.
"""

from vjax.config import Augment, Choice, Clip, Config


def get_config() -> Config:
    return Config(
        source=Choice("something_something", root="", annotations=""),
        max_bad_share=0.05,
        clip=Clip(num_frames=16, size=112, fps=6.0),  # 2.7 seconds
        augment=Augment(flip=False),  # some classes are mirror images of others
        network=Choice("slow_fusion", backbone=Choice("resnet18"), dropout=0.3),
        optimizer=Choice("adamw", learning_rate=1e-3, weight_decay=0.05, warmup=1000, clip_norm=1.0),
        label_smoothing=0.1,
        batch_size=32,
        length="40 epochs",
        log_every=50,
        evaluate_every=5000,
        checkpoint_every=500,
    )
