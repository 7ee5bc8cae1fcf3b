"""Your own videos, if they are few: a small, strided 3D CNN from scratch, which sees the change from frame to frame.

    python train.py --config configs/small_data.py --config.source.root=DIR_OR_CSV

`DIR_OR_CSV` is as in configs/folder.py. This is the recipe of configs/weizmann.py, chosen on videos of people who act
in front of a still camera (docs/recipes.md has every trial). The network sees nothing that does not move: where a
picture is enough, or the camera moves, set `--config.clip.input=rgb`. Set `augment.flip` to False if mirroring changes
a label, and `augment.rate` to (1, 1) if speed does.

Source: Tao et al. 2020, "Rethinking motion representation" (differences of frames); the recipe is ours. Cost: 2 to 3
minutes for 80 prepared videos on two CPU cores (AMD EPYC with AVX-512); files that are not prepared take longer.
"""

from vjax.config import Augment, Choice, Clip, Config


def get_config() -> Config:
    return Config(
        source=Choice("videos", root=""),
        clip=Clip(size=(48, 60), fps=12.5, input="difference"),  # 1.3 seconds
        augment=Augment(scale=(0.6, 1.0), rate=(0.75, 1.33)),
        network=Choice("slow_fusion", backbone=Choice("small", depth=(1, 2, 2), stride=2), dropout=0.3),
        optimizer=Choice("adamw", learning_rate=5e-3, warmup=50),
        label_smoothing=0.1,
        length=600,
    )
