"""The probabilities of long videos over time."""

import itertools
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from made_videos import write_video

from vjax import mesh as meshes
from vjax.data.decode import VideoError
from vjax.data.transforms import TestView
from vjax.errors import InputError
from vjax.evaluation import timeline
from vjax.evaluation.timeline import make_timeline
from vjax.evaluation.windows import WholeWindows
from vjax.ops.sampling import ClipTiming


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """100 frames at 25 fps: black for 2 s, then white for 2 s."""
    path = tmp_path_factory.mktemp("timeline") / "black_white.mp4"
    frames = np.zeros((100, 32, 48, 3), np.uint8)
    frames[50:] = 255
    write_video(path, frames)
    return path


def brightness(clips):
    """Probabilities of black and of white."""
    white = np.asarray(clips, np.float32).mean((1, 2, 3, 4)) / 255
    return SimpleNamespace(probs=np.stack([1 - white, white], -1))


def timeline_of(path, *, fps=12.5, hop=2, batch_size=4, num_frames=4):
    view = TestView(ClipTiming(num_frames, fps=fps), (8, 8))
    inference = WholeWindows(brightness, meshes.make_mesh(jax.devices()[:1]))
    return make_timeline(path, view, inference, hop=hop, batch_size=batch_size, class_names=("black", "white"))


@pytest.mark.parametrize(("fps", "hop", "batch_size"), [(12.5, 2, 4), (25.0, 4, 64), (10.0, 1, 3), (50.0, 4, 5)])
def test_a_timeline_follows_the_video(video, fps, hop, batch_size):
    found = timeline_of(video, fps=fps, hop=hop, batch_size=batch_size)
    np.testing.assert_allclose(found.probs.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.diff(found.start_s)[:-1], hop / fps, rtol=1e-6)
    assert found.end_s[-1] == pytest.approx(4.0, abs=2 / fps + 0.05)
    assert found.probs[found.end_s <= 1.95, 0].min() > 0.95
    assert found.probs[found.start_s >= 2.05, 1].min() > 0.95


def test_the_size_of_a_batch_changes_nothing(video):
    one, other = timeline_of(video, batch_size=1), timeline_of(video, batch_size=7)
    np.testing.assert_array_equal(one.probs, other.probs)
    np.testing.assert_array_equal(one.start_s, other.start_s)


def test_a_video_that_is_shorter_than_a_window_has_one(tmp_path):
    write_video(tmp_path / "short.mp4", np.full((3, 32, 48, 3), 255, np.uint8))
    found = timeline_of(tmp_path / "short.mp4", num_frames=16)
    assert len(found.probs) == 1
    assert found.probs[0, 1] > 0.95
    assert found.end_s[0] == pytest.approx(0.12, abs=0.05), "the window is looped, the video is not"


def test_the_windows_before_a_damaged_place_are_kept(video, monkeypatch):
    def cut(path, **options):
        yield from itertools.islice(iterate_video(path, **options), 30)
        raise VideoError("cut off")

    iterate_video = timeline.decode.iterate_video
    monkeypatch.setattr(timeline.decode, "iterate_video", cut)
    found = timeline_of(video)
    assert found.error == "cut off"
    assert len(found.probs) == 14
    assert found.end_s[-1] == pytest.approx(30 / 12.5)


def test_a_file_that_is_no_video_and_a_hop_of_0_are_refused(tmp_path, video):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoError, match="no video can be opened"):
        timeline_of(tmp_path / "text.mp4")
    with pytest.raises(InputError, match="a window must move by 1 frame or more, got 0"):
        timeline_of(video, hop=0)
