"""Sources and their labelled videos, whose frames are read only when a clip needs them."""

import dataclasses
import hashlib
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
      group: name of the video's group (a subject, a recording); empty if none is known.
    """

    name: str
    label: int
    num_frames: int
    fps: float
    read: Callable[[np.ndarray], np.ndarray]
    group: str = ""


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
    """A dataset of labelled videos: a training split, a test split and, if there is one, a validation split.

    Attributes:
      class_names: names of the classes; a label is an index into them.
      train: the videos to train on.
      test: the videos to evaluate on.
      split: description of how the videos were split, for protocols.
      val: the videos that serve choices, such as that of the best checkpoint; empty if there is no validation split.
      bad_videos: unreadable videos of all splits; no split contains them.
      lost_videos: unreadable videos that were readable when the run began; they keep their position in their split.
      new_videos: names of the videos that the dataset did not have when the run began; no split contains them.
    """

    class_names: tuple[str, ...]
    train: VideoSequence
    test: VideoSequence
    split: str
    val: VideoSequence = ()
    bad_videos: tuple[BadVideo, ...] = ()
    lost_videos: tuple[BadVideo, ...] = ()
    new_videos: tuple[str, ...] = ()

    @property
    def split_code(self) -> str:
        """A short code of all names in their splits; two results with another code are of other videos.

        Empty for videos in records, whose names are not known without reading them.
        """
        splits = {"train": self.train, "val": self.val, "test": self.test}
        if not isinstance(self.train, list):
            return ""
        names = sorted(f"{split} {videos[i].name}" for split, videos in splits.items() for i in range(len(videos)))
        return hashlib.blake2b("\n".join(names).encode(errors="surrogateescape"), digest_size=3).hexdigest()

    def _repr_html_(self) -> str:
        """Returns the source as a part of a page, for notebooks."""
        from vjax.data.pages import show_source  # imported here, because that module imports this one

        return show_source(self)

    @property
    def num_videos(self) -> int:
        """Number of videos of all splits, unreadable ones included."""
        return sum(map(len, (self.train, self.val, self.test, self.bad_videos)))


def groups_of(videos: VideoSequence) -> list[str]:
    """Returns the group of each video; those of videos in records are not known without reading them."""
    return [video.group for video in videos] if isinstance(videos, list) else [""] * len(videos)


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
