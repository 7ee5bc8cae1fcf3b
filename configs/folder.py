"""Your own videos: a small, strided 3D CNN from scratch on a folder of `class/video.ext`, or on a manifest.

    python train.py --config configs/folder.py --config.source.root=DIR_OR_CSV

A manifest is a CSV file with the columns `path,label[,split][,group]`. If no split is given, a random fifth of each
class becomes the test split. Videos of one group stay in the same split; the group is a column of the manifest, or the
part of a path that the first parenthesis of `source.group` matches, such as `(g[0-9]+)_c` for UCF101. Set
`augment.flip` to False if mirroring changes a label. For few videos of things that move in front of a still camera,
take configs/small_data.py.

Source: the recipe is ours. Cost: 9 minutes for 100 videos of 320 x 240 and 4 seconds on two CPU cores (AMD EPYC with
AVX-512), reading included.
"""

from vjax.config import Choice, Config


def get_config() -> Config:
    return Config(
        source=Choice("videos", root=""),
        network=Choice("slow_fusion", backbone=Choice("small", widths=(16, 32, 64, 128), stride=2), dropout=0.3),
        optimizer=Choice("adamw", learning_rate=5e-3, warmup=100),
        label_smoothing=0.1,
        length=600,
        evaluate_every=300,
    )
