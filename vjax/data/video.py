"""What a source is made of: labelled videos whose frames are read when a clip asks for them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from vjax.data import decode


@dataclasses.dataclass(frozen=True)
class Video:
    """One labelled video, of which any frames can be read.

    Attributes:
      name: what tables and messages call it: a path relative to the source's root, or a record's id.
      label: index of its class.
      num_frames: frames it has.
      fps: frames per second.
      read: frame indices `(t)` to uint8 frames `(t h w c)`.
    """

    name: str
    label: int
    num_frames: int
    fps: float
    read: Callable[[np.ndarray], np.ndarray]


class VideoSequence(Protocol):
    """A split: videos by position."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Video: ...


@dataclasses.dataclass(frozen=True)
class BadVideo:
    """A video that cannot be read, and why."""

    name: str
    split: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Source:
    """Two splits of labelled videos.

    Attributes:
      class_names: sorted; a label is an index into it.
      train: the videos to train on.
      test: the videos to evaluate on.
      split: in words, how the two were told apart, for protocols.
      bad_videos: those of either split that cannot be read; they are in neither.
      lost_videos: those of either split that could be read when the run began; they keep their place in it.
    """

    class_names: tuple[str, ...]
    train: VideoSequence
    test: VideoSequence
    split: str
    bad_videos: tuple[BadVideo, ...] = ()
    lost_videos: tuple[BadVideo, ...] = ()


def open_video(path: str | Path) -> Video:
    """Returns one video file as a video without a label (0).

    Raises:
      VideoError: it cannot be read.
    """
    info = decode.probe(path)
    return Video(str(path), 0, info.num_frames, info.fps, FileReader(Path(path), info.seeks))


@dataclasses.dataclass(frozen=True)
class FileReader:
    """Reads frames of a file; unlike a closure it can be sent to a worker process."""

    path: Path
    seeks: decode.SeekTable | None = None

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """Returns the frames `(t h w c)` at frame indices `(t)`."""
        return decode.read_frames(self.path, indices, seeks=self.seeks)
