"""clips.py of an exported network makes the clips that the run was tested on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_videos import write_video

from vjax.data.transforms import TestView
from vjax.data.video import open_video
from vjax.export.program import clips as program
from vjax.ops.frames import crop_resize, largest_box
from vjax.ops.sampling import ClipTiming


@given(
    rows=st.integers(1, 90),
    columns=st.integers(1, 90),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    place=st.floats(0, 1),
    share=st.floats(0.3, 1),
    seed=st.integers(0, 9),
)
@settings(max_examples=200)
def test_a_crop_is_that_of_the_package_to_one_gray_level(rows, columns, size, place, share, seed):
    frame = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3)).astype(np.uint8)
    box = largest_box(height=rows, width=columns, aspect=size[1] / size[0], position=place, share=share)
    # A box of half a pixel is one pixel for the package.
    if min(box[2] - box[0], box[3] - box[1]) < 1:
        return
    expected = crop_resize(frame[None], box=box, size=size)[0]
    found = program.crop(frame, size, place, share)
    np.testing.assert_allclose(found.astype(int), expected, atol=1)


@pytest.mark.parametrize(("rows", "columns"), [(240, 320), (144, 176), (120, 160), (480, 272)])
def test_frames_of_usual_sizes_are_resized_to_the_same_bytes(rows, columns):
    noise = np.random.default_rng(0).integers(0, 256, (rows // 8, columns // 8, 3)).astype(np.uint8)
    frame = noise.repeat(8, 0).repeat(8, 1)
    box = largest_box(height=rows, width=columns, aspect=1.0)
    expected = crop_resize(frame[None], box=box, size=(112, 112))[0]
    found = program.crop(frame, (112, 112), 0.5, 1.0)
    assert np.mean(found != expected) < 0.005


@pytest.mark.parametrize(
    "view",
    [
        TestView(ClipTiming(4, fps=5.0), (16, 16), num_clips=3),
        TestView(ClipTiming(4, stride=2), (12, 20), num_clips=1, crop_share=0.875),
        TestView(ClipTiming(8, duration_s=1.0), (16, 16), num_clips=2, num_crops=3),
        TestView(ClipTiming(64, stride=1), (16, 16), num_clips=2),
    ],
)
def test_the_clips_of_a_video_are_those_of_the_test_view(tmp_path, view):
    frames = np.random.default_rng(0).integers(0, 256, (30, 24, 40, 3)).astype(np.uint8)
    path = write_video(tmp_path / "x.mkv", frames, fps=12)
    timing = {name: getattr(view.timing, name) for name in ("num_frames", "fps", "stride", "duration_s")}
    found = program.read_clips(
        path,
        timing=timing,
        size=view.size,
        num_clips=view.num_clips,
        num_crops=view.num_crops,
        crop_share=view.crop_share,
        temperature=1.0,
    )
    expected = view(open_video(path))
    assert found.shape == expected.shape == view.shape
    np.testing.assert_allclose(found.astype(int), expected, atol=1)


def test_of_several_streams_the_one_with_the_most_pixels_is_read(tmp_path):
    small, large = np.zeros((9, 32, 48, 3), np.uint8), np.full((9, 64, 96, 3), 200, np.uint8)
    path = write_video(tmp_path / "two.mkv", small, large)
    timing = {"num_frames": 4, "fps": None, "stride": 1, "duration_s": None}
    found = program.read_clips(path, timing=timing, size=(8, 8), num_clips=1, num_crops=1, crop_share=1.0)
    assert found.min() > 190
