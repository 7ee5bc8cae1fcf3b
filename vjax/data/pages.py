"""Sources and clips as parts of a page, for notebooks."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from vjax.data.decode import VideoError
from vjax.data.media import gif_uri
from vjax.data.transforms import TestView
from vjax.data.video import Source, Video
from vjax.html.page import Figures, Section, Table, render_fragment
from vjax.ops.sampling import ClipTiming
from vjax.text import count

_MOST_CLASSES = 50  # rows of the table
_SHOWN = 6  # classes of which a video is shown
_FPS = 6.0
_VIEW = TestView(ClipTiming(12, duration_s=2.0), (112, 112), num_clips=1)  # what is shown of a video


def show_source(source: Source) -> str:
    """Returns a source as a part of a page: the number of videos by class and split, and a video of some classes."""
    splits = {"train": source.train, "val": source.val, "test": source.test}
    rows = []
    if all(isinstance(videos, list) or not len(videos) for videos in splits.values()):
        counts = [Counter(videos[i].label for i in range(len(videos))) for videos in splits.values()]
        names = source.class_names[:_MOST_CLASSES]
        rows = [(name, *(f"{found[label]:,}" for found in counts)) for label, name in enumerate(names)]
    rows.append(("all classes", *(f"{len(videos):,}" for videos in splits.values())))
    bad = f"; {count(len(source.bad_videos), 'video')} cannot be read" if source.bad_videos else ""
    blocks = [Table("videos", ["videos", *splits], rows), Figures(list(_examples(source)))]
    return render_fragment(
        title=f"{count(source.num_videos, 'video')} of {count(len(source.class_names), 'class', 'classes')}, "
        f"test split {source.split}{bad}",
        sections=[Section("source", "", "", blocks)],
    )


def _examples(source: Source) -> Iterator[tuple[str, str]]:
    """Yields a moving picture of the first training video of each of the first classes that can be read."""

    def read(position: int) -> tuple[str, Video]:
        video = source.train[position]
        return source.class_names[video.label], video

    # Videos in records are read to learn their classes, so only the first ones are.
    num_videos = len(source.train) if isinstance(source.train, list) else min(len(source.train), _SHOWN)
    return first_of_classes(read, num_videos, most=_SHOWN)


def first_of_classes(
    read: Callable[[int], tuple[str, Video]], num_videos: int, *, most: int
) -> Iterator[tuple[str, str]]:
    """Yields the name of a class and a moving picture of its first video that can be read, for the first classes.

    Args:
      read: function from a position to the name of a class and a video of it.
      num_videos: number of positions.
      most: number of classes after which it ends.
    """
    shown: set[str] = set()
    for position in range(num_videos):
        if len(shown) == most:
            return
        try:
            name, video = read(position)
            if name in shown:
                continue
            (clip,) = _VIEW(video)
        except VideoError:
            continue  # a picture is for show; training and the doctor say which videos cannot be read
        shown.add(name)
        yield name, gif_uri(clip, fps=_FPS)


@dataclasses.dataclass(frozen=True)
class LabelledClips:
    """Clips with the names of their classes, which a notebook shows as moving pictures.

    Attributes:
      clips: uint8 clips `(b t h w c)`.
      class_names: `b` names of classes.
    """

    clips: np.ndarray | Sequence[np.ndarray]
    class_names: Sequence[str]

    def _repr_html_(self) -> str:
        """Returns the clips as a part of a page."""
        figures = [(name, gif_uri(clip, fps=_FPS)) for name, clip in zip(self.class_names, self.clips, strict=True)]
        title = f"{count(len(figures), 'clip')}, {' x '.join(map(str, np.shape(self.clips)[1:]))}"
        return render_fragment(title=title, sections=[Section("clips", "", "", [Figures(figures)])])
