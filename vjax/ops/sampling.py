"""Frame sampling: one random clip of a video for training, several spaced clips for testing.

A clip of `t` frames with a step of `s` source frames spans `(t - 1) * s + 1` frames of the video. A shorter video is
looped: the clip starts at the first frame and, after the last one, continues from the first again. So every clip has
`t` real frames, and a one-frame video gives `t` copies of its frame.
"""

import dataclasses

import numpy as np

from vjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class ClipTiming:
    """The timing of a clip: `num_frames` and exactly one of `stride`, `fps` and `duration_s`.

    Attributes:
      num_frames: number of frames of a clip, t.
      stride: source frames from one frame of the clip to the next, at any frame rate of the video.
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
        """Returns the step between two frames of the clip, in source frames; it may be fractional."""
        if self.stride is not None:
            return float(self.stride)
        if self.fps is not None:
            return video_fps / self.fps
        assert self.duration_s is not None
        return self.duration_s * video_fps / self.num_frames

    def describe(self) -> str:
        """Returns the timing in words, for reports: `16 frames at 5 fps`."""
        if self.stride is not None:
            return f"{self.num_frames} frames at stride {self.stride}"
        if self.fps is not None:
            return f"{self.num_frames} frames at {self.fps:g} fps"
        return f"{self.num_frames} frames over {self.duration_s:g} s"


def random_clip(rng: np.random.Generator, *, num_video_frames: int, num_frames: int, step: float) -> np.ndarray:
    """Returns the frame indices `(t)`, in [0, num_video_frames), of one clip with a uniformly random start.

    Exactly one random number is drawn for a video of any length.
    """
    latest = _latest_start(num_video_frames, num_frames, step)
    start = int(rng.random() * (latest + 1))
    return _indices(start, num_video_frames, num_frames, step)


def spaced_clips(*, num_video_frames: int, num_clips: int, num_frames: int, step: float) -> np.ndarray:
    """Returns the frame indices `(n t)` of clips spread evenly from the first to the last frame of the video.

    A single clip is taken from the middle. Clips overlap if the video is shorter than all of them in a row; they are
    identical if the video is not longer than one clip.
    """
    if num_clips < 1:
        raise InputError(f"a video needs at least 1 clip, got num_clips={num_clips}")
    latest = _latest_start(num_video_frames, num_frames, step)
    positions = np.linspace(0, latest, num_clips) if num_clips > 1 else np.array([latest / 2])
    starts = np.floor(positions).astype(int)
    return np.stack([_indices(start, num_video_frames, num_frames, step) for start in starts])


def _latest_start(num_video_frames: int, num_frames: int, step: float) -> int:
    """Returns the last frame at which a clip can start without looping, or 0 if it must loop."""
    if num_video_frames < 1:
        raise InputError(f"a video needs at least 1 frame, got {num_video_frames}")
    return max(0, num_video_frames - 1 - int(_offsets(num_frames, step)[-1]))


def _indices(start: int, num_video_frames: int, num_frames: int, step: float) -> np.ndarray:
    return (start + _offsets(num_frames, step)) % num_video_frames


def _offsets(num_frames: int, step: float) -> np.ndarray:
    # Float rounding may put a step slightly below a whole number; floor must not then lose a frame.
    return np.floor(np.arange(num_frames) * step + 1e-6).astype(int)
