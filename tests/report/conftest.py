"""A finished run with a validation split, which the tests of reports share."""

import io

import numpy as np
import pytest
from made_videos import write_video

import vjax
from vjax.config_file import load_config


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The work directory of a run on bright and dark videos, and the folder of the videos."""
    base = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    for number in range(16):
        for label, level in (("bright", 200), ("dark", 60)):
            frames = np.clip(rng.normal(level, 40, (12, 32, 40, 3)), 0, 255).astype(np.uint8)
            path = base / "videos" / label / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, frames)
    words = [f"--config.source.root={base}/videos", "--config.val_share=0.3", "--config.length=8"]
    vjax.train(load_config("folder:tiny", words), base / "run", console=io.StringIO())
    return base / "run", base / "videos"
