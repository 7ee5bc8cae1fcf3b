"""Which frames make a clip: one random clip for training, several spaced clips for testing.

A clip of `t` frames with a step of `s` source frames spans `(t - 1) * s + 1` frames of the video. A video shorter
than that is looped: the clip starts at its first frame and, past the last one, goes on at the first again. So
every clip has `t` real frames, and a one-frame video gives `t` copies of it.
"""

import dataclasses

import numpy as np

from vjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class ClipTiming:
    """How much time a clip covers: `num_frames` frames and exactly one of stride, fps and duration.

    Attributes:
      num_frames: t, the frames of a clip.
      stride: source frames from one frame of the clip to the next, whatever the video's frame rate.
      fps: frames per second of the clip; a 25 fps video at 12.5 fps is read with a step of 2.
      duration_s: seconds that the clip covers; the step is `duration_s * video_fps / num_frames`.

    >>> ClipTiming(num_frames=16, fps=5.0).step(video_fps=25.0)
    5.0
    """

    num_frames: int = 16
    stride: int | None = None
    fps: float | None = None
    duration_s: float | None = None

    def __post_init__(self):
        if self.num_frames < 1:
            raise InputError(f"a clip needs at least 1 frame, got num_frames={self.num_frames}")
        rates = {"stride": self.stride, "fps": self.fps, "duration_s": self.duration_s}
        given = {name: value for name, value in rates.items() if value is not None}
        if len(given) != 1:
            raise InputError(f"a clip takes exactly one of stride, fps and duration_s, got {given or 'none'}")
        if min(given.values()) <= 0:
            raise InputError(f"the clip's rate must be above 0, got {given}")

    def step(self, *, video_fps: float) -> float:
        """Returns the source frames, possibly fractional, between two frames of the clip."""
        if self.stride is not None:
            return float(self.stride)
        if self.fps is not None:
            return video_fps / self.fps
        assert self.duration_s is not None
        return self.duration_s * video_fps / self.num_frames

    def describe(self) -> str:
        """Returns the timing in words, for protocols: `16 frames at 5 fps`."""
        if self.stride is not None:
            return f"{self.num_frames} frames at stride {self.stride}"
        if self.fps is not None:
            return f"{self.num_frames} frames at {self.fps:g} fps"
        return f"{self.num_frames} frames over {self.duration_s:g} s"


def random_clip(rng: np.random.Generator, *, num_video_frames: int, num_frames: int, step: float) -> np.ndarray:
    """Returns the frame indices `(t)` of one clip whose start is uniform over the video.

    Exactly one random number is drawn, whatever the video's length. Indices lie in [0, num_video_frames).
    """
    latest = _latest_start(num_video_frames, num_frames, step)
    start = int(rng.random() * (latest + 1))
    return _indices(start, num_video_frames, num_frames, step)


def spaced_clips(*, num_video_frames: int, num_clips: int, num_frames: int, step: float) -> np.ndarray:
    """Returns the frame indices `(n t)` of clips spread evenly over the video, first and last frame included.

    A single clip is the middle one. Clips overlap where the video is shorter than all of them in a row, and
    coincide where it is no longer than one.
    """
    if num_clips < 1:
        raise InputError(f"a video needs at least 1 clip, got num_clips={num_clips}")
    latest = _latest_start(num_video_frames, num_frames, step)
    positions = np.linspace(0, latest, num_clips) if num_clips > 1 else np.array([latest / 2])
    starts = np.floor(positions).astype(int)
    return np.stack([_indices(start, num_video_frames, num_frames, step) for start in starts])


def _latest_start(num_video_frames: int, num_frames: int, step: float) -> int:
    """Returns the last frame a clip can start at without looping, or 0 where it must loop."""
    if num_video_frames < 1:
        raise InputError(f"a video needs at least 1 frame, got {num_video_frames}")
    return max(0, num_video_frames - 1 - int(_offsets(num_frames, step)[-1]))


def _indices(start: int, num_video_frames: int, num_frames: int, step: float) -> np.ndarray:
    return (start + _offsets(num_frames, step)) % num_video_frames


def _offsets(num_frames: int, step: float) -> np.ndarray:
    # A step that rounding put a hair below a whole number must not lose a frame.
    return np.floor(np.arange(num_frames) * step + 1e-6).astype(int)
