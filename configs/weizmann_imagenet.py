"""The Weizmann actions with EfficientNet-Lite0 from its ImageNet weights, tested on the held-out subject.

    pip install '.[pretrained]'
    python train.py --config configs/weizmann_imagenet.py --config.source.root=DIR --config.held_out=daria

The videos are those of configs/weizmann.py. `--config.network.name` takes any fusion network but `early_fusion`, whose
first kernel sees all frames; `slow_fusion` gets inflated kernels. To start from random numbers instead:
`--config.init.weights= --config.optimizer.learning_rate=3e-3 --config.length=300`.

All layers learn, the norms too. The learning rates were chosen on the fold of daria alone. From the weights, a rate of
2e-3 with frozen norms gave 1 of 10 videos (single frame and slow fusion answered one class), and 1e-3 with norms that
learn gave 9 or 10 of 10.

Source: Blank et al. 2005 (videos); Liu 2020 (EfficientNet-Lite). `vjax crossval --folds group` trains on all nine folds
(docs/trust.md).
"""

from vjax.config import Augment, Choice, Clip, Config, InitFrom, Testing


def get_config() -> Config:
    return Config(
        source=Choice("weizmann", root=""),
        held_out="daria",
        val_share=0.0,  # the literature trains on all other subjects
        clip=Clip(num_frames=8, size=(72, 90), fps=6.25),  # half of the frame's size; 1.3 seconds
        augment=Augment(scale=(0.6, 1.0)),
        network=Choice("late_pool", backbone=Choice("efficientnet_lite0"), dropout=0.2),
        init=InitFrom(weights="wheel:efficientnet_lite0"),
        optimizer=Choice("adamw", learning_rate=1e-3, warmup=20),
        label_smoothing=0.1,
        batch_size=8,
        length=150,
        test=Testing(batch_size=8),
        evaluate_every=150,
    )
