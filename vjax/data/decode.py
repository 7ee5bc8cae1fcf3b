"""Video files to frames: the only place that knows codecs and containers.

What a file claims about itself is not trusted. Frames are counted by decoding them, taken in the order in which
the decoder puts them out (time stamps of B-frames in AVI run backwards), and turned upright where the container's
display matrix says so. Metadata that is not UTF-8 is ignored. Of several video streams the best is read, as ffmpeg
chooses it: the one with the most pixels.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import av.container
import av.error
import numpy as np
from av.stream import Disposition

from vjax.errors import InputError


class VideoError(InputError):
    """A video file cannot be read; the message names the file and the reason."""


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What was found by decoding a whole file.

    Attributes:
      num_frames: frames that decode.
      fps: average frames per second.
      height: of an upright frame, in pixels.
      width: of an upright frame, in pixels.
    """

    num_frames: int
    fps: float
    height: int
    width: int


def probe(path: str | Path) -> VideoInfo:
    """Returns what a file holds, by decoding all of it.

    Raises:
      VideoError: the file is missing, holds no video, or stops decoding before its end.
    """
    num_frames, height, width, fps = 0, 0, 0, 0.0
    with _open(path) as (container, stream):
        for frame in _decoded(path, container, stream):
            if num_frames == 0:
                height, width = frame.height, frame.width
                if frame.rotation % 180:
                    height, width = width, height
            num_frames += 1
        fps = _frame_rate(stream)
    if num_frames == 0:
        raise VideoError(f"{path}: not one frame of the video decodes")
    return VideoInfo(num_frames, fps, height, width)


def read_frames(path: str | Path, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """Returns the frames `(len(indices) h w 3)`, RGB uint8, at any frame indices, repeated ones included.

    The file is decoded from its start to the last index asked for; only the frames asked for become pixels.

    Raises:
      VideoError: the file cannot be read, or ends before the last index.
    """
    wanted = set(map(int, indices))
    last = max(wanted)
    found: dict[int, np.ndarray] = {}
    with _open(path) as (container, stream):
        size: tuple[int, int] | None = None
        for index, frame in enumerate(_decoded(path, container, stream)):
            size = size or (frame.width, frame.height)
            if index in wanted:
                found[index] = _pixels(frame, size)
            if index == last:
                break
    if last not in found:
        raise VideoError(f"{path}: ends before frame {last}")
    return np.stack([found[int(index)] for index in indices])


def read_video(path: str | Path) -> np.ndarray:
    """Returns every frame of a file, `(f h w 3)`, RGB uint8.

    Raises:
      VideoError: the file cannot be read to its end.
    """
    with _open(path) as (container, stream):
        frames: list[np.ndarray] = []
        size: tuple[int, int] | None = None
        for frame in _decoded(path, container, stream):
            size = size or (frame.width, frame.height)
            frames.append(_pixels(frame, size))
    if not frames:
        raise VideoError(f"{path}: not one frame of the video decodes")
    return np.stack(frames)


@contextlib.contextmanager
def _open(path: str | Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    try:
        # Made absolute, a name with a colon in it is not taken for a protocol.
        container = av.open(str(Path(path).absolute()), metadata_errors="ignore")
    except FileNotFoundError as error:
        raise VideoError(f"{path}: no such file") from error
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: no video can be opened ({_reason(error)})") from error
    with container:
        # A cover picture is a video stream to ffmpeg, and a text file a film of a terminal ("tty").
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams or container.format.name == "tty":
            raise VideoError(f"{path}: holds no video stream")
        stream = max(streams, key=lambda s: s.width * s.height)
        # Clips are decoded side by side in threads of their own; threads inside one decoder only cost.
        stream.thread_type = "NONE"
        yield container, stream


def _decoded(
    path: str | Path, container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.VideoFrame]:
    num_frames = 0
    try:
        for frame in container.decode(stream):
            assert isinstance(frame, av.VideoFrame)
            yield frame
            num_frames += 1
    except av.error.FFmpegError as error:
        raise VideoError(f"{path}: {num_frames} frames decode, then {_reason(error)}") from error


def _pixels(frame: av.VideoFrame, size: tuple[int, int]) -> np.ndarray:
    """Returns `(h w 3)` RGB, upright; a frame whose size changed in mid-stream is scaled to the first one's."""
    # More than one thread here would be started anew for every frame, at 6 to 15 times the cost.
    rgb = frame.reformat(width=size[0], height=size[1], format="rgb24", threads=1).to_ndarray()
    return np.rot90(rgb, (frame.rotation // 90) % 4)


def _frame_rate(stream: av.VideoStream) -> float:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return float(rate) if rate else 25.0


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
