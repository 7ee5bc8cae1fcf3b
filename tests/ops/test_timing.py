"""A stride, a frame rate and a duration can describe the same timing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vjax.ops.sampling import ClipTiming, random_clip, spaced_clips

FRAME_RATES = st.sampled_from([10.0, 15.0, 24000 / 1001, 24.0, 25.0, 29.97, 30000 / 1001, 30.0, 50.0, 59.94, 60.0])


@given(fps=FRAME_RATES, stride=st.integers(1, 12), num_frames=st.integers(1, 64), length=st.integers(1, 300))
def test_timings_that_say_the_same_give_the_same_frames(fps, stride, num_frames, length):
    timings = [
        ClipTiming(num_frames, stride=stride),
        ClipTiming(num_frames, fps=fps / stride),
        ClipTiming(num_frames, duration_s=num_frames * stride / fps),
    ]
    clips = []
    for timing in timings:
        video = {"num_video_frames": length, "num_frames": num_frames, "step": timing.step(video_fps=fps)}
        clips.append([*spaced_clips(num_clips=3, **video), random_clip(np.random.default_rng(0), **video)])
    np.testing.assert_array_equal(clips[0], clips[1])
    np.testing.assert_array_equal(clips[0], clips[2])
