"""Your own videos: slow fusion from scratch on a folder of `class/video.ext`, or on a manifest.

    python train.py --config configs/folder.py --config.source.root=DIR_OR_CSV

A manifest is a CSV file with the columns `path,label[,split][,group]`. If no split is given, a random fifth of each
class becomes the test split. Videos of one group stay in the same split; the group is a column of the manifest, or the
part of a path that the first parenthesis of `source.group` matches, such as `(g[0-9]+)_c` for UCF101. Set
`augment.flip` to False if mirroring changes a label.
"""

from vjax.config import Choice, Config


def get_config() -> Config:
    return Config(
        source=Choice("videos", root=""),
        network=Choice("slow_fusion", backbone=Choice("small", widths=(16, 32, 64, 128)), dropout=0.3),
        optimizer=Choice("adamw", learning_rate=5e-3, warmup=100),
        label_smoothing=0.1,
    )
