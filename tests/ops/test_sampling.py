import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjax.errors import InputError
from vjax.ops.sampling import ClipTiming, random_clip, spaced_clips

LENGTHS = st.integers(1, 300)
FRAMES = st.integers(1, 32)
STEPS = st.floats(0.2, 20)


@given(length=LENGTHS, num_frames=FRAMES, step=STEPS, seed=st.integers(0, 99))
def test_every_index_of_a_random_clip_lies_in_the_video(length, num_frames, step, seed):
    indices = random_clip(np.random.default_rng(seed), num_video_frames=length, num_frames=num_frames, step=step)
    assert indices.shape == (num_frames,)
    assert (indices >= 0).all()
    assert (indices < length).all()


@given(length=LENGTHS, num_frames=FRAMES, step=STEPS, num_clips=st.integers(1, 9))
def test_spaced_clips_start_at_the_first_frame_and_end_as_late_as_they_can(length, num_frames, step, num_clips):
    clips = spaced_clips(num_video_frames=length, num_clips=num_clips, num_frames=num_frames, step=step)
    assert clips.shape == (num_clips, num_frames)
    assert (clips < length).all()
    span = int((num_frames - 1) * step) + 1
    if num_clips > 1 and span <= length:
        assert clips[0, 0] == 0
        assert clips[-1, -1] == length - 1
        assert (np.diff(clips[:, 0]) >= 0).all()


def test_a_single_clip_is_the_middle_one():
    clips = spaced_clips(num_video_frames=21, num_clips=1, num_frames=5, step=2.0)
    np.testing.assert_array_equal(clips, [[6, 8, 10, 12, 14]])


def test_a_video_shorter_than_a_clip_is_looped_from_its_start():
    indices = random_clip(np.random.default_rng(0), num_video_frames=3, num_frames=8, step=1.0)
    np.testing.assert_array_equal(indices, [0, 1, 2, 0, 1, 2, 0, 1])
    clips = spaced_clips(num_video_frames=3, num_clips=2, num_frames=4, step=2.0)
    np.testing.assert_array_equal(clips, [[0, 2, 1, 0]] * 2)


@given(length=LENGTHS)
def test_one_random_number_is_drawn_whatever_the_length(length):
    used, fresh = np.random.default_rng(0), np.random.default_rng(0)
    random_clip(used, num_video_frames=length, num_frames=16, step=2.0)
    fresh.random()
    assert used.random() == fresh.random()


def test_a_random_clip_starts_everywhere_equally_often():
    rng = np.random.default_rng(0)
    starts = [random_clip(rng, num_video_frames=13, num_frames=4, step=3.0)[0] for _ in range(4000)]
    counts = np.bincount(starts)
    assert len(counts) == 4  # 0 to 3: a clip spans 10 frames
    assert (abs(counts - 1000) < 120).all()


@given(video_fps=st.floats(5, 60), fps=st.floats(1, 30))
def test_seconds_and_frames_per_second_say_the_same(video_fps, fps):
    by_rate = ClipTiming(16, fps=fps).step(video_fps=video_fps)
    by_duration = ClipTiming(16, duration_s=16 / fps).step(video_fps=video_fps)
    assert by_rate == pytest.approx(by_duration)


def test_a_stride_does_not_ask_for_the_frame_rate():
    assert ClipTiming(16, stride=3).step(video_fps=25.0) == ClipTiming(16, stride=3).step(video_fps=60.0) == 3


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "exactly one of stride, fps and duration_s, got none"),
        ({"stride": 2, "fps": 5.0}, "exactly one of stride, fps and duration_s, got {'stride': 2, 'fps': 5.0}"),
        ({"fps": 0.0}, "rate must be above 0"),
        ({"num_frames": 0, "stride": 1}, "at least 1 frame, got num_frames=0"),
    ],
)
def test_a_timing_that_does_not_work_is_explained(kwargs, message):
    with pytest.raises(InputError, match=message):
        ClipTiming(**kwargs)


def test_no_clips_and_no_frames_are_refused():
    with pytest.raises(InputError, match="at least 1 clip, got num_clips=0"):
        spaced_clips(num_video_frames=5, num_clips=0, num_frames=2, step=1.0)
    with pytest.raises(InputError, match="at least 1 frame, got 0"):
        random_clip(np.random.default_rng(0), num_video_frames=0, num_frames=2, step=1.0)


@pytest.mark.parametrize(
    ("timing", "words"),
    [
        (ClipTiming(16, stride=4), "16 frames at stride 4"),
        (ClipTiming(16, fps=12.5), "16 frames at 12.5 fps"),
        (ClipTiming(8, duration_s=3.2), "8 frames over 3.2 s"),
    ],
)
def test_a_timing_describes_itself(timing, words):
    assert timing.describe() == words
