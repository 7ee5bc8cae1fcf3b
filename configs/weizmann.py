"""Slow fusion from scratch on the Weizmann actions, tested on the subjects held out.

Source: Blank et al. 2005, "Actions as space-time shapes": 10 actions by 9 subjects, 90 videos of 180 x 144 at 25
fps, as a folder `action/subject_action.avi`. The literature leaves one subject out, nine times.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.source = dict(name="videos", root="", group=r"/([a-z]+)_", max_bad_share=0.1)
    config.held_out = "daria"
    config.clip = dict(num_frames=16, size=(48, 60), fps=12.5)
    config.augment = dict(area=(0.6, 1.0), stretch=1.15, flip=True)
    config.normalization = dict(mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225))
    config.network = dict(name="slow_fusion", dropout=0.3, dtype="float32")
    config.network.trunk = dict(name="small", widths=(16, 32, 64), depth=1, norm="batch")
    config.optimizer = dict(name="adamw", learning_rate=5e-3, weight_decay=0.05, warmup_steps=50, clip_norm=1.0)
    config.label_smoothing = 0.1
    config.batch_size = 16
    config.num_steps = 500
    config.test = dict(num_clips=5, num_crops=1, batch_size=10)
    config.log_every = 50
    config.evaluate_every = 500
    config.checkpoint_every = 250
    config.num_workers = 0
    return config
