"""Late fusion by pooling: two convolutions on 20 frames of 64 x 64, as a lecture compares them.

    vjax describe --config configs/lecture/late_fusion.py
    python train.py --config configs/lecture/late_fusion.py --workdir runs/lecture/late_fusion

Source: Johnson, "Videos", a lecture of Deep Learning for Computer Vision, University of Michigan, which holds late
fusion, early fusion and a 3D CNN against each other. The convolutions see one frame; the average over all
frames fuses time at the end.
The first command prints its table: 2,952 parameters without the classifier, 39.8 million multiply-adds.
The videos are generated (vjax/data/datasets/moving_shapes.py).
"""

from vjax.config import Augment, Choice, Clip, Config, Testing


def get_config() -> Config:
    return Config(
        source=Choice("moving_shapes", data_dir="runs/data/lecture", size=64, num_test=200, num_val=200),
        clip=Clip(num_frames=20, size=64, stride=1),
        augment=Augment(scale=(0.6, 1.0), flip=False),  # a flip would swap left and right motion
        network=Choice("late_pool", backbone=Choice("small", widths=(12, 24), pool=(4, 1), norm="none")),
        optimizer=Choice("adamw", learning_rate=5e-3, warmup=50),
        length=900,
        test=Testing(num_clips=1),
        log_every=50,
        evaluate_every=900,
        checkpoint_every=300,
    )
