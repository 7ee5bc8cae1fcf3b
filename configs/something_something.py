"""Something-Something V2 with a 3D ResNet-18 from scratch: the classes depend on the direction of motion.

    vjax prepare something_something --source.root=DIR --out runs/data/something_something
    python train.py --config configs/something_something.py --config.source.root=runs/data/something_something

Source: Goyal et al. 2017; 168,913 training videos, 24,777 test videos, 174 classes. `DIR` holds the videos
(`ID.webm`), `train.json` and `validation.json`. Clips are not mirrored: "from left to right" is a class. Cost: 40.7 G
multiply-adds per clip and forward pass; we did not measure the full run. Published: we know of no figure for R3D-18
from scratch.
"""

from vjax.config import Augment, Choice, Clip, Config


def get_config() -> Config:
    return Config(
        source=Choice("something_something", root=""),
        val_share=0.0,  # the published figures train on the whole training list
        max_bad_share=0.05,
        clip=Clip(fps=6.0),  # 2.7 seconds
        augment=Augment(flip=False),  # some classes are mirror images of others
        network=Choice("slow_fusion", backbone=Choice("resnet18"), dropout=0.3),
        optimizer=Choice("adamw", learning_rate=1e-3, warmup=1000),
        label_smoothing=0.1,
        batch_size=32,
        length="40 epochs",
        log_every=50,
        evaluate_every=5000,
        checkpoint_every=500,
    )
