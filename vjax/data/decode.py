"""Video files to frames: the only place that knows codecs and containers.

What a file claims about itself is not trusted. Frames are counted by decoding them, taken in the order in which
the decoder puts them out (time stamps of B-frames in AVI run backwards), and turned upright where the container's
display matrix says so. Metadata that is not UTF-8 is ignored. Of several video streams the best is read, as ffmpeg
chooses it: the one with the most pixels. Decoding is bounded in frames, pixels and seconds.
"""

import contextlib
import dataclasses
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import av.container
import av.error
import numpy as np
from av.stream import Disposition

from vjax.errors import InputError


class VideoError(InputError):
    """A video file cannot be read; the message names the file and the reason."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one file may cost at most; a file that asks for more is refused.

    Attributes:
      num_frames: frames that are decoded.
      num_pixels: of a frame; an 8K frame has 33 million.
      wall_s: seconds that decoding takes, looked at between frames.
    """

    num_frames: int = 500_000
    num_pixels: int = 36_000_000
    wall_s: float = 600.0


LIMITS = Limits()


@dataclasses.dataclass(frozen=True)
class SeekTable:
    """Where decoding can start in a file, as found by decoding all of it.

    Attributes:
      pts: time stamp of every frame in decoding order's output; increasing.
      keyframes: indices of frames that decoding can start at.
      checksums: of the keyframes' first planes: that a seek has arrived is proven, not believed.
    """

    pts: np.ndarray
    keyframes: np.ndarray
    checksums: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What was found by decoding a whole file.

    Attributes:
      num_frames: frames that decode.
      fps: average frames per second.
      height: of an upright frame, in pixels.
      width: of an upright frame, in pixels.
      seeks: where decoding can start; None where it has to start at the beginning.
    """

    num_frames: int
    fps: float
    height: int
    width: int
    seeks: SeekTable | None = None


# Elsewhere packet times are not frame times: seeking by them failed on 125 of 172 real AVI files, once silently.
_SEEKABLE = {"mov", "mp4", "matroska", "webm"}
_WORTH_A_SEEK = 8  # frames that a seek must save
# PyAV 19 reads metadata that is not UTF-8 by itself, and no longer has the option.
_OPEN_OPTIONS: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}


def probe(path: str | Path, *, limits: Limits = LIMITS) -> VideoInfo:
    """Returns what a file holds, by decoding all of it.

    Raises:
      VideoError: the file is missing, holds no video, stops decoding before its end, or is beyond the limits.
    """
    height, width = 0, 0
    pts: list[int | None] = []
    keyframes: list[int] = []
    checksums: list[int] = []
    with _open(path) as (container, stream):
        for frame in _decoded(path, container, stream, limits):
            if not pts:
                height, width = frame.height, frame.width
                if _quarter_turns(frame) % 2:
                    height, width = width, height
            if frame.key_frame:
                keyframes.append(len(pts))
                checksums.append(zlib.crc32(frame.planes[0]))
            pts.append(frame.pts)
        fps = _frame_rate(stream)
        seekable = not _SEEKABLE.isdisjoint(container.format.name.split(","))
    if not pts:
        raise VideoError(f"{path}: not one frame of the video decodes")
    seeks = None
    known = [stamp for stamp in pts if stamp is not None]
    if seekable and len(keyframes) > 1 and len(known) == len(pts):
        times = np.array(known)
        if (np.diff(times) > 0).all():
            seeks = SeekTable(times, np.array(keyframes), tuple(checksums))
    return VideoInfo(len(pts), fps, height, width, seeks)


def read_frames(
    path: str | Path, indices: Sequence[int] | np.ndarray, *, seeks: SeekTable | None = None, limits: Limits = LIMITS
) -> np.ndarray:
    """Returns the frames `(len(indices) h w 3)`, RGB uint8, at any frame indices, repeated ones included.

    Only the frames asked for become pixels. Decoding starts at the file's beginning; with a seek table it leaves out
    what lies between keyframes and is not asked for, and a seek that does not arrive is given up for the beginning.

    Raises:
      VideoError: the file cannot be read, ends before the last index, or is beyond the limits.
    """
    wanted = sorted(set(map(int, indices)))
    found = None
    if seeks is not None:
        found = _read_by_seeking(path, wanted, seeks, limits)
    if found is None:
        with _open(path) as (container, stream):
            found = _pick(enumerate(_decoded(path, container, stream, limits)), wanted)
    if wanted[-1] not in found:
        raise VideoError(f"{path}: ends before frame {wanted[-1]}")
    return np.stack([found[int(index)] for index in indices])


def read_video(path: str | Path, *, limits: Limits = LIMITS) -> np.ndarray:
    """Returns every frame of a file, `(f h w 3)`, RGB uint8.

    Raises:
      VideoError: the file cannot be read to its end, or is beyond the limits.
    """
    frames = list(iterate_video(path, limits=limits))
    if not frames:
        raise VideoError(f"{path}: not one frame of the video decodes")
    return np.stack(frames)


def iterate_video(path: str | Path, *, step: float = 1.0, limits: Limits = LIMITS) -> Iterator[np.ndarray]:
    """Yields the frames of a file, `(h w 3)`, RGB uint8, upright: all, or those nearest after every `step` frames.

    Raises:
      VideoError: the file cannot be read to its end, or is beyond the limits.
    """
    with _open(path) as (container, stream):
        size: tuple[int, int] | None = None
        num_yielded = 0
        for index, frame in enumerate(_decoded(path, container, stream, limits)):
            size = size or (frame.width, frame.height)
            if index >= num_yielded * step - 1e-6:
                num_yielded += 1
                yield _pixels(frame, size)


def frame_rate(path: str | Path) -> float:
    """Returns a file's average frames per second.

    Raises:
      VideoError: the file is missing or holds no video.
    """
    with _open(path) as (_, stream):
        return _frame_rate(stream)


def _pick(frames: Iterator[tuple[int, av.VideoFrame]], wanted: Sequence[int]) -> dict[int, np.ndarray]:
    """Returns the pixels of the wanted frames, as far as there are such frames."""
    left = set(wanted)
    found: dict[int, np.ndarray] = {}
    size: tuple[int, int] | None = None
    for index, frame in frames:
        size = size or (frame.width, frame.height)
        if index in left:
            found[index] = _pixels(frame, size)
            left.remove(index)
            if not left:
                break
    return found


class _LostError(Exception):
    """A seek did not arrive where the table says."""


def _read_by_seeking(
    path: str | Path, wanted: Sequence[int], seeks: SeekTable, limits: Limits
) -> dict[int, np.ndarray] | None:
    """Returns the wanted frames, or None where the file does not follow its table."""
    with _open(path) as (container, stream):
        try:
            return _pick(_seeking(path, container, stream, wanted, seeks, limits), wanted)
        except (_LostError, VideoError, av.error.FFmpegError):
            return None  # read from the beginning, which says what is wrong


def _seeking(
    path: str | Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    wanted: Sequence[int],
    seeks: SeekTable,
    limits: Limits,
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yields frames with their indices, in order, leaving some out between those that are wanted."""
    decoded = enumerate(_decoded(path, container, stream, limits))
    last = -1
    for index in wanted:
        key = seeks.keyframes[np.searchsorted(seeks.keyframes, index, side="right") - 1]
        if key - last > _WORTH_A_SEEK:
            container.seek(int(seeks.pts[key]), stream=stream, backward=True)
            decoded = _from_keyframe(int(key), _decoded(path, container, stream, limits), seeks)
        while last < index:
            last, frame = next(decoded, (None, None))
            if last is None or frame is None or frame.pts != seeks.pts[last]:
                raise _LostError
            yield last, frame


def _from_keyframe(key: int, frames: Iterator[av.VideoFrame], seeks: SeekTable) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yields the frames from a keyframe on with their indices, after proving that it is the one."""
    stamp = seeks.pts[key]
    first = next((frame for frame in frames if frame.pts is not None and frame.pts >= stamp), None)
    checksum = seeks.checksums[int(np.searchsorted(seeks.keyframes, key))]
    if first is None or first.pts != stamp or zlib.crc32(first.planes[0]) != checksum:
        raise _LostError
    yield key, first
    yield from enumerate(frames, start=key + 1)


@contextlib.contextmanager
def _open(path: str | Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    try:
        # Made absolute, a name with a colon in it is not taken for a protocol.
        container = av.open(str(Path(path).absolute()), **_OPEN_OPTIONS)
    except FileNotFoundError as error:
        raise VideoError(f"{path}: no such file") from error
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: no video can be opened ({_reason(error)})") from error
    with container:
        # A cover picture is a video stream to ffmpeg, and a text file a film of a terminal ("tty").
        found = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        streams = [s for s in found if s.codec_context is not None]  # None: of a codec that nobody knows
        if not streams or container.format.name == "tty":
            raise VideoError(f"{path}: holds no video stream")
        stream = max(streams, key=lambda s: s.width * s.height)
        # Clips are decoded side by side in threads of their own; threads inside one decoder only cost.
        stream.thread_type = "NONE"
        yield container, stream


def _decoded(
    path: str | Path, container: av.container.InputContainer, stream: av.VideoStream, limits: Limits
) -> Iterator[av.VideoFrame]:
    num_frames, deadline = 0, time.monotonic() + limits.wall_s
    _check_pixels(path, stream.width, stream.height, limits)  # before a decoder makes room for them
    try:
        for frame in container.decode(stream):
            assert isinstance(frame, av.VideoFrame)
            _check_pixels(path, frame.width, frame.height, limits)
            if num_frames == limits.num_frames:
                raise VideoError(f"{path}: has more than {limits.num_frames:,} frames; cut it into shorter videos")
            if time.monotonic() > deadline:
                raise VideoError(f"{path}: {num_frames} frames decode in {limits.wall_s:g} s, and then time is up")
            if frame.is_corrupt:
                raise VideoError(f"{path}: frame {num_frames} is damaged")
            yield frame
            num_frames += 1
    except av.error.FFmpegError as error:
        raise VideoError(f"{path}: {num_frames} frames decode, then {_reason(error)}") from error


def _check_pixels(path: str | Path, width: int, height: int, limits: Limits) -> None:
    if width * height > limits.num_pixels:
        raise VideoError(
            f"{path}: a frame of {width} x {height} is more than {limits.num_pixels:,} pixels; scale the video down"
        )


def _pixels(frame: av.VideoFrame, size: tuple[int, int]) -> np.ndarray:
    """Returns `(h w 3)` RGB, upright; a frame whose size changed in mid-stream is scaled to the first one's."""
    # More than one thread here would be started anew for every frame, at 6 to 15 times the cost.
    rgb = frame.reformat(width=size[0], height=size[1], format="rgb24", threads=1).to_ndarray()
    return np.rot90(rgb, _quarter_turns(frame))


def _quarter_turns(frame: av.VideoFrame) -> int:
    """Returns how often a frame has to be turned by 90 degrees, counterclockwise, to be upright, 0 to 3."""
    return round(frame.rotation / 90) % 4


def _frame_rate(stream: av.VideoStream) -> float:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return float(rate) if rate else 25.0


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
