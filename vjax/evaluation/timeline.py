"""The probabilities of a long video over time: a window that slides over its frames, in constant memory."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from vjax.data import decode
from vjax.data.container import LONG
from vjax.data.transforms import TestView
from vjax.evaluation.calibration import Calibration
from vjax.evaluation.segments import Segment, SegmentFinder
from vjax.evaluation.windows import Inference, slide
from vjax.html.charts import line_chart
from vjax.html.page import Lines, Section, render_fragment
from vjax.text import count, format_time

_SHOWN = 6  # classes of a chart


@dataclasses.dataclass(frozen=True)
class Timeline:
    """The probabilities of the windows of a video.

    Attributes:
      name: name of the video.
      start_s: `(n)`, start of each window in seconds.
      end_s: `(n)`, end of each window in seconds.
      probs: `(n k)`, probabilities of each window.
      error: reason why the video could not be read to its end; empty if it could.
      class_names: names of the classes.
    """

    name: str
    start_s: np.ndarray
    end_s: np.ndarray
    probs: np.ndarray
    error: str
    class_names: tuple[str, ...]

    @property
    def middle_s(self) -> np.ndarray:
        """The `(n)` middles of the windows in seconds."""
        return (self.start_s + self.end_s) / 2

    def most_probable(self, most: int) -> list[int]:
        """Returns the classes that are most probable somewhere, at most `most` of them."""
        return np.argsort(-self.probs.max(0), kind="stable")[:most].tolist()

    def segments(self, finder: SegmentFinder) -> list[Segment]:
        """Returns the segments that a new finder finds."""
        rows = zip(self.start_s, self.end_s, self.probs, strict=True)
        found = [finder.add(float(start_s), float(end_s), probs) for start_s, end_s, probs in rows]
        return [segment for segment in (*found, finder.close()) if segment is not None]

    def _repr_html_(self) -> str:
        """Returns the timeline as a part of a page, for notebooks."""
        series = {
            self.class_names[k]: list(zip(self.middle_s.tolist(), self.probs[:, k].tolist(), strict=True))
            for k in self.most_probable(_SHOWN)
        }
        chart = line_chart("probability over time", series, x_label="seconds", unit_range=True)
        title = f"{self.name}: {count(len(self.probs), 'window')} in {format_time(float(self.end_s[-1]))}"
        return render_fragment(title=title, sections=[Section("timeline", "", self.error, [Lines([chart])])])


def make_timeline(
    path: str | Path,
    view: TestView,
    inference: Inference,
    *,
    hop: int,
    batch_size: int,
    class_names: Sequence[str],
    calibration: Calibration | None = None,
    advance: Callable[[float], None] = lambda seconds: None,
) -> Timeline:
    """Returns the probabilities of a video file over time.

    Each frame is decoded and resized once. In memory are one batch of windows, and the probabilities of all of them.
    A window is the middle crop of a clip of the view; the last one ends with the video. Times are frames over the mean
    frame rate of the file. If the file cannot be read to its end, the windows before that place are kept.

    Args:
      path: video file.
      view: clips of a video; its number of clips and crops has no effect.
      inference: inference of the network on windows.
      hop: number of frames of a clip from the start of one window to the next.
      batch_size: number of windows in a batch.
      class_names: names of the classes.
      calibration: calibration of the network; None keeps its probabilities.
      advance: progress callback; gets the seconds of the video that are done.

    Raises:
      InputError: the hop is below 1.
      VideoError: not one frame of the file can be read.
    """
    fps = decode.frame_rate(path)
    step = view.timing.step(video_fps=fps)
    num_frames, infer = view.timing.num_frames, inference.start(rows=batch_size, hop=hop)
    adjust = calibration if calibration is not None else np.asarray
    starts: list[int] = []
    probs: list[np.ndarray] = []
    frames = _Counted(_small_frames(path, view, step))
    windows = slide(frames, num_frames=num_frames, hop=hop)
    while batch := list(itertools.islice(windows, batch_size)):
        probs.append(adjust(infer(batch)))
        starts += [first for first, _ in batch]
        advance(frames.count * step / fps)
    if not probs:
        raise frames.error or decode.VideoError(f"{path}: not one frame of the video decodes")
    start_s = np.array(starts) * step / fps
    # A short video is looped in its window, and still ends where it ends.
    end_s = np.minimum(start_s + num_frames * step / fps, frames.count * step / fps)
    return Timeline(str(path), start_s, end_s, np.concatenate(probs), str(frames.error or ""), tuple(class_names))


class _Counted:
    """Frames that are counted; an error of the file ends them and is kept."""

    def __init__(self, frames: Iterator[np.ndarray]):
        self._frames = frames
        self.count = 0
        self.error: decode.VideoError | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            for frame in self._frames:
                self.count += 1
                yield frame
        except decode.VideoError as error:
            self.error = error


def _small_frames(path: str | Path, view: TestView, step: float) -> Iterator[np.ndarray]:
    """Yields the frames of a file at the rate of the view's clips, in the size of its middle crop."""
    emitted = 0
    for index, frame in enumerate(decode.iterate_video(path, step=max(step, 1.0), limits=LONG)):
        small = view.middle_crop(frame)
        # A clip of a higher rate than the video repeats its frames.
        repeats = 1 if step >= 1 else int((index + 1) / step - 1e-6) + 1 - emitted
        emitted += repeats
        for _ in range(repeats):
            yield small
