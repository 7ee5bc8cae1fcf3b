"""Slow fusion from scratch on the Weizmann actions, tested on the held-out subjects.

    vjax prepare weizmann --source.root=DIR --out runs/data/weizmann
    python train.py --config configs/weizmann.py --config.source.root=runs/data/weizmann --config.held_out=daria
    vjax crossval --config configs/weizmann.py --config.source.root=runs/data/weizmann --folds group --workdir runs/loso

Source: Blank et al. 2005, "Actions as space-time shapes": 10 actions by 9 subjects, 90 videos of 180 x 144 at 25 fps,
as a folder `action/subject_action.avi`. The literature holds out each subject in turn, and reaches 97 to 100 % with
hand-crafted motion features, and 95.3 % with a 3D CNN and an LSTM (Basha et al. 2022). The README shows what this
config reaches. It is the recipe of configs/small_data.py, and was chosen on the videos of six subjects
(docs/recipes.md). The last two commands also read `DIR` itself, which takes longer.
"""

from vjax.config import Augment, Choice, Clip, Config, Testing


def get_config() -> Config:
    return Config(
        source=Choice("weizmann", root=""),
        held_out="daria",
        val_share=0.0,  # the literature trains on all other subjects
        clip=Clip(size=(48, 60), fps=12.5, input="difference"),  # a third of the frame's size; 1.3 seconds
        augment=Augment(scale=(0.6, 1.0), rate=(0.75, 1.33)),
        network=Choice("slow_fusion", backbone=Choice("small", depth=(1, 2, 2), stride=2), dropout=0.3),
        optimizer=Choice("adamw", learning_rate=5e-3, warmup=50),
        label_smoothing=0.1,
        length=600,
        test=Testing(batch_size=8),
        evaluate_every=600,
    )
