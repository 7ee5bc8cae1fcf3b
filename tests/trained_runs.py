"""A finished run beside videos to predict."""

import io

import numpy as np
from made_videos import write_video
from video_files import write_folder

import vjax


def make_run_of_levels(base):
    """Writes into a folder a finished run, a video of 10 s as `long.mp4` and `long.mkv`, and a file that is none."""
    root = write_folder(base / "videos")
    words = [f"--config.source.root={root}", "--config.val_share=0.2"]
    vjax.train(vjax.load_config("folder:tiny", words), base / "run", console=io.StringIO())
    frames = np.random.default_rng(0).integers(0, 256, (250, 24, 32, 3)).astype(np.uint8)
    write_video(base / "long.mp4", frames)
    write_video(base / "long.mkv", frames)
    (base / "text.mp4").write_text("no video")
    return base
