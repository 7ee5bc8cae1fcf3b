"""Sources and their labelled videos, whose frames are read only when a clip needs them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from vjax.data import decode


@dataclasses.dataclass(frozen=True)
class Video:
    """One labelled video, with random access to its frames.

    Attributes:
      name: name in tables and messages: a path relative to the source's root, or the name of a record.
      label: index of the video's class.
      num_frames: number of frames.
      fps: frames per second.
      read: function from frame indices `(t)` to uint8 frames `(t h w c)`.
    """

    name: str
    label: int
    num_frames: int
    fps: float
    read: Callable[[np.ndarray], np.ndarray]


class VideoSequence(Protocol):
    """A split: a sequence of videos."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Video: ...


@dataclasses.dataclass(frozen=True)
class BadVideo:
    """A video that cannot be read, and the reason."""

    name: str
    split: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Source:
    """A dataset of labelled videos: a training split and a test split.

    Attributes:
      class_names: names of the classes; a label is an index into them.
      train: the videos to train on.
      test: the videos to evaluate on.
      split: description of how the videos were split, for protocols.
      bad_videos: unreadable videos of both splits; neither `train` nor `test` contains them.
      lost_videos: unreadable videos of both splits that were readable when the run began; they keep their position in
        `train` or `test`.
    """

    class_names: tuple[str, ...]
    train: VideoSequence
    test: VideoSequence
    split: str
    bad_videos: tuple[BadVideo, ...] = ()
    lost_videos: tuple[BadVideo, ...] = ()


def open_video(path: str | Path) -> Video:
    """Returns a video file as a `Video` whose label is unknown and set to 0.

    Raises:
      VideoError: the file cannot be read.
    """
    info = decode.probe(path)
    return Video(str(path), 0, info.num_frames, info.fps, FileReader(Path(path), info.seeks))


@dataclasses.dataclass(frozen=True)
class FileReader:
    """Reads frames of a file; unlike a closure, it can be sent to a worker process."""

    path: Path
    seeks: decode.SeekTable | None = None

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """Returns the frames `(t h w c)` at frame indices `(t)`."""
        return decode.read_frames(self.path, indices, seeks=self.seeks)
