"""What holds for every frame of a training view, and what a written file keeps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_videos import numbered_frames, numbers
from PIL import Image

from vjax.data.decode import probe, read_video
from vjax.data.encode import write_frames
from vjax.data.transforms import Augment, TrainView
from vjax.data.video import Video
from vjax.ops.sampling import ClipTiming


def make_video(num_frames, height, width):
    still = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Video("x", 0, num_frames, 10.0, lambda indices: np.stack([still] * len(indices)))


@settings(deadline=None, max_examples=20)
@given(num_frames=st.integers(1, 40), height=st.integers(4, 40), width=st.integers(4, 40), seed=st.integers(0, 99))
def test_a_training_view_uses_the_same_number_of_draws_for_every_video(num_frames, height, width, seed):
    view = TrainView(ClipTiming(4, stride=2), (8, 8))
    used, expected = np.random.default_rng(seed), np.random.default_rng(seed)
    view(make_video(num_frames, height, width), used)
    view(make_video(30, 20, 20), expected)
    assert used.bit_generator.state == expected.bit_generator.state


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 99))
def test_a_training_view_cuts_and_mirrors_every_frame_of_a_clip_alike(seed):
    clip = TrainView(ClipTiming(5, stride=2), (9, 7))(make_video(12, 20, 30), np.random.default_rng(seed))
    assert (clip == clip[0]).all()


def test_a_training_view_never_mirrors_where_that_would_change_the_label():
    slope = np.broadcast_to(np.arange(30, dtype=np.uint8)[None, :, None] * 8, (20, 30, 3))  # brighter to the right
    video = Video("x", 0, 9, 10.0, lambda indices: np.stack([slope] * len(indices)))
    rng = np.random.default_rng(0)
    brighter = {
        flip: [
            bool(clip[0, 0, 0, 0] < clip[0, 0, -1, 0])
            for clip in (TrainView(ClipTiming(1, stride=1), (8, 8), Augment(flip=flip))(video, rng) for _ in range(40))
        ]
        for flip in (True, False)
    }
    assert all(brighter[False])
    assert 8 < sum(brighter[True]) < 32


@pytest.mark.parametrize("name", ["x.mp4", "x.gif"])
def test_frames_are_written_in_order(tmp_path, name):
    write_frames(tmp_path / name, numbered_frames(12), fps=10)
    assert numbers(read_video(tmp_path / name)) == list(range(12))


@pytest.mark.parametrize("fps", [5, 12.5, 30000 / 1001])
def test_an_mp4_plays_at_the_frame_rate_asked_for(tmp_path, fps):
    write_frames(tmp_path / "x.mp4", numbered_frames(12), fps=fps)
    assert probe(tmp_path / "x.mp4").fps == pytest.approx(fps, rel=1e-3)


def test_a_gif_of_a_still_scene_lasts_as_long_as_its_frames(tmp_path):
    write_frames(tmp_path / "x.gif", np.full((8, 10, 10, 3), 90, np.uint8), fps=10)
    with Image.open(tmp_path / "x.gif") as image:
        frames = getattr(image, "n_frames", 1)
        total = 0
        for index in range(frames):
            image.seek(index)
            total += image.info.get("duration", 0)
    assert total == 800
