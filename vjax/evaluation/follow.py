"""The probabilities of a stream over time, while it comes."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from vjax.data.stream import StreamFrame
from vjax.evaluation.calibration import Calibration
from vjax.evaluation.windows import Inference, Slider


class StreamWindow(NamedTuple):
    """The probabilities of a window of a stream.

    Attributes:
      start_s: start of the window, in seconds since the first frame of the stream.
      end_s: end of the window.
      arrived_s: time at which its last frame came, on the clock of `time.monotonic`.
      probs: `(k)`, probabilities of the window.
    """

    start_s: float
    end_s: float
    arrived_s: float
    probs: np.ndarray


def follow(
    frames: Iterable[StreamFrame],
    inference: Inference,
    *,
    num_frames: int,
    hop: int,
    calibration: Calibration | None = None,
) -> Iterator[StreamWindow]:
    """Yields the windows of a stream, each as soon as its last frame has come.

    Where frames are missing, windows begin anew; fewer frames than a window between two gaps are looped. At the end of
    the stream, the last window ends with the last frame, as in a timeline.

    Args:
      frames: frames of the stream, in the size and at the rate of clips.
      inference: inference of the network on windows.
      num_frames: number of frames of a window.
      hop: number of frames from the start of one window to the next.
      calibration: calibration of the network; None keeps its probabilities.

    Raises:
      InputError: the hop is below 1.
      VideoError: the stream breaks off.
    """
    slider = Slider[StreamFrame](num_frames=num_frames, hop=hop)
    infer = inference.start(rows=1, hop=hop)
    adjust = calibration if calibration is not None else np.asarray

    def measure(found: tuple[int, list[StreamFrame]], last: StreamFrame) -> StreamWindow:
        first, held = found
        probs = adjust(infer([(first, np.stack([frame.pixels for frame in held]))]))[0]
        return StreamWindow(held[0].start_s, last.end_s, last.arrived_s, probs)

    last: StreamFrame | None = None
    for frame in frames:
        if not frame.follows and (found := slider.begin_anew()) and last is not None:
            yield measure(found, last)
        last = frame
        if found := slider.add(frame):
            yield measure(found, frame)
    if last is not None and (found := slider.last()):
        yield measure(found, last)
