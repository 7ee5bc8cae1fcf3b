"""Your own videos: slow fusion from scratch on a folder of `class/video.ext`, or on a manifest.

    python train.py --config configs/folder.py --config.source.root=DIR_OR_CSV

A manifest is a CSV file with the columns `path,label[,split][,group]`. Without a given split, a fifth of each class
is set aside for test; videos of one group (a manifest's column, or what `source.group` finds in a path, such as
`(g[0-9]+)_c` for UCF101) stay together. Set `augment.flip` to False where mirroring would change a label.
"""

from vjax.config import Choice, Clip, Config


def get_config() -> Config:
    return Config(
        source=Choice("videos", root=""),
        clip=Clip(num_frames=16, size=112, fps=5.0),  # 3.2 seconds
        network=Choice("slow_fusion", backbone=Choice("small", widths=(16, 32, 64, 128)), dropout=0.3),
        optimizer=Choice("adamw", learning_rate=5e-3, weight_decay=0.05, warmup=100, clip_norm=1.0),
        label_smoothing=0.1,
        batch_size=16,
        length=2000,
    )
