"""Decodes video files to frames; only this module and container.py decode video.

A file's own metadata is not trusted. Frames are counted by decoding them. They are taken in the decoder's output order
(time stamps of B-frames in AVI run backwards), and rotated upright according to the container's display matrix.
Metadata that is not UTF-8 is ignored. If there are several video streams, the one with the most pixels is read, which
is also ffmpeg's choice. Decoding is limited in frames, pixels and seconds.
"""

import dataclasses
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import av.container
import av.error
import numpy as np

from vjax.data.container import LIMITS, Clock, Limits, VideoError, decoded_frames, open_container, reason
from vjax.data.threads import interruptible

__all__ = ["LIMITS", "Limits", "VideoError"]  # from container.py, re-exported for callers of this module


@dataclasses.dataclass(frozen=True)
class SeekTable:
    """The positions in a file at which decoding can start, found by decoding the complete file.

    Attributes:
      pts: time stamps of all frames, in the decoder's output order; strictly increasing.
      keyframes: indices of the frames at which decoding can start.
      checksums: CRC-32 of each keyframe's first plane, which verifies that a seek arrived at the keyframe.
    """

    pts: np.ndarray
    keyframes: np.ndarray
    checksums: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """Properties of a video file, found by decoding all of it.

    Attributes:
      num_frames: number of frames that can be decoded.
      fps: average frames per second.
      height: height of an upright frame, in pixels.
      width: width of an upright frame, in pixels.
      seeks: table of seek positions; None if decoding must start at the beginning.
    """

    num_frames: int
    fps: float
    height: int
    width: int
    seeks: SeekTable | None = None


# In other containers, packet times differ from frame times: seeking failed on 125 of 172 real AVI files, once silently.
_SEEKABLE = {"mov", "mp4", "matroska", "webm"}
_WORTH_A_SEEK = 8  # a seek must save at least this many frames


def probe(path: str | Path, *, limits: Limits = LIMITS) -> VideoInfo:
    """Returns the properties of a file, by decoding all of it.

    Raises:
      VideoError: the file is missing, has no video, cannot be decoded to its end, or exceeds the limits.
    """
    return interruptible(lambda: _probe(path, limits))


# index_cache.py keeps what this function finds. A change of that needs a new version there.
def _probe(path: str | Path, limits: Limits) -> VideoInfo:
    height, width = 0, 0
    shown: set[tuple[str, int, int]] = set()
    pts: list[int | None] = []
    keyframes: list[int] = []
    checksums: list[int] = []
    # Decode all frames; note their time stamps and the checksums of keyframes.
    with open_container(path, limits) as (container, stream):
        for frame in decoded_frames(path, container, stream, limits):
            if not pts:
                height, width = frame.height, frame.width
                if _quarter_turns(frame) % 2:
                    height, width = width, height
            kind = (frame.format.name, frame.width, frame.height)
            if kind not in shown:  # frames of each kind must also convert to RGB
                shown.add(kind)
                to_rgb(path, frame, (frame.width, frame.height))
            if frame.key_frame:
                keyframes.append(len(pts))
                checksums.append(zlib.crc32(frame.planes[0]))
            pts.append(frame.pts)
        fps = average_rate(stream)
        seekable = not _SEEKABLE.isdisjoint(container.format.name.split(","))
    if not pts:
        raise VideoError(f"{path}: not one frame of the video decodes")
    # A seek table needs a suitable container, several keyframes, and time stamps that increase.
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
    """Returns the frames `(len(indices) h w 3)`, RGB uint8, at frame indices in any order; indices may repeat.

    Only the requested frames are converted to RGB. Without a seek table, decoding starts at the beginning of the file.
    With one, decoding jumps to keyframes and skips frames that are not needed; if a seek does not arrive at its
    keyframe, the file is read from the beginning.

    Raises:
      VideoError: the file cannot be read, ends before the last index, or exceeds the limits.
    """
    wanted = sorted(set(map(int, indices)))
    found = interruptible(lambda: _find(path, wanted, seeks, limits))
    if wanted[-1] not in found:
        raise VideoError(f"{path}: ends before frame {wanted[-1]}")
    return np.stack([found[int(index)] for index in indices])


def read_video(path: str | Path, *, limits: Limits = LIMITS) -> np.ndarray:
    """Returns all frames of a file, `(f h w 3)`, RGB uint8.

    Raises:
      VideoError: the file cannot be read to its end, or exceeds the limits.
    """
    frames = interruptible(lambda: list(iterate_video(path, limits=limits)))
    if not frames:
        raise VideoError(f"{path}: not one frame of the video decodes")
    return np.stack(frames)


def iterate_video(path: str | Path, *, step: float = 1.0, limits: Limits = LIMITS) -> Iterator[np.ndarray]:
    """Yields the frames of a file, `(h w 3)`, RGB uint8, upright.

    With `step` > 1, it yields only the first frame at or after each multiple of `step`. The time that the caller spends
    on a frame does not count as time for decoding.

    Raises:
      VideoError: the file cannot be read to its end, or exceeds the limits.
    """
    with open_container(path, limits) as (container, stream):
        size: tuple[int, int] | None = None
        num_yielded, clock = 0, Clock()
        for index, frame in enumerate(decoded_frames(path, container, stream, limits, now=clock.now)):
            size = size or (frame.width, frame.height)
            if index >= num_yielded * step - 1e-6:
                num_yielded += 1
                pixels = to_rgb(path, frame, size)
                with clock.paused():
                    yield pixels


def frame_rate(path: str | Path) -> float:
    """Returns the average frames per second of a file.

    Raises:
      VideoError: the file cannot be opened or has no video.
    """
    with open_container(path, LIMITS) as (_, stream):
        return average_rate(stream)


def _find(path: str | Path, wanted: Sequence[int], seeks: SeekTable | None, limits: Limits) -> dict[int, np.ndarray]:
    """Returns the wanted frames by index, in RGB; frames after the end of the file are left out."""
    if seeks is not None:
        found = _find_by_seeking(path, wanted, seeks, limits)
        if len(found) == len(wanted):
            return found  # otherwise, read from the beginning, which also reports what is wrong
    with open_container(path, limits) as (container, stream):
        return _pick(path, enumerate(decoded_frames(path, container, stream, limits)), wanted)


def _pick(
    path: str | Path, frames: Iterator[tuple[int, av.VideoFrame]], wanted: Sequence[int]
) -> dict[int, np.ndarray]:
    left = set(wanted)
    found: dict[int, np.ndarray] = {}
    size: tuple[int, int] | None = None
    for index, frame in frames:
        size = size or (frame.width, frame.height)
        if index in left:
            found[index] = to_rgb(path, frame, size)
            left.remove(index)
            if not left:
                break
    return found


class _LostError(Exception):
    """A seek did not arrive at the frame that the table gives."""


def _find_by_seeking(
    path: str | Path, wanted: Sequence[int], seeks: SeekTable, limits: Limits
) -> dict[int, np.ndarray]:
    """Returns the wanted frames by index, or an empty dict if the file does not match its seek table."""
    with open_container(path, limits) as (container, stream):
        try:
            return _pick(path, _seeking(path, container, stream, wanted, seeks, limits), wanted)
        except (_LostError, VideoError, av.error.FFmpegError):
            return {}


def _seeking(
    path: str | Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    wanted: Sequence[int],
    seeks: SeekTable,
    limits: Limits,
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yields frames with their indices, in order; frames between the wanted ones may be skipped."""
    decoded = enumerate(decoded_frames(path, container, stream, limits))
    last = -1
    for index in wanted:
        before = int(np.searchsorted(seeks.keyframes, index, side="right"))
        key = seeks.keyframes[before - 1] if before else 0  # the first frames of a file may precede all keyframes
        if key - last > _WORTH_A_SEEK:
            container.seek(int(seeks.pts[key]), stream=stream, backward=True)
            decoded = _from_keyframe(int(key), decoded_frames(path, container, stream, limits), seeks)
        while last < index:
            last, frame = next(decoded, (None, None))
            if last is None or frame is None or frame.pts != seeks.pts[last]:
                raise _LostError
            yield last, frame


def _from_keyframe(key: int, frames: Iterator[av.VideoFrame], seeks: SeekTable) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yields the frames from a keyframe on, with their indices, after verifying that it is the right keyframe."""
    stamp = seeks.pts[key]
    first = next((frame for frame in frames if frame.pts is not None and frame.pts >= stamp), None)
    checksum = seeks.checksums[int(np.searchsorted(seeks.keyframes, key))]
    if first is None or first.pts != stamp or zlib.crc32(first.planes[0]) != checksum:
        raise _LostError
    yield key, first
    yield from enumerate(frames, start=key + 1)


def to_rgb(path: str | Path, frame: av.VideoFrame, size: tuple[int, int]) -> np.ndarray:
    """Returns a frame `(h w 3)`, RGB, upright; it is first scaled to `size` (w, h), as sizes may change mid-stream."""
    try:
        # With more than one thread, threads would be created again for every frame, at 6 to 15 times the cost.
        rgb = frame.reformat(width=size[0], height=size[1], format="rgb24", threads=1).to_ndarray()
    except av.error.FFmpegError as error:
        raise VideoError(f"{path}: a {frame.format.name} frame cannot be converted to RGB ({reason(error)})") from error
    return np.rot90(rgb, _quarter_turns(frame))


def _quarter_turns(frame: av.VideoFrame) -> int:
    """Returns the number of counterclockwise 90 degree turns, 0 to 3, that make a frame upright."""
    return round(frame.rotation / 90) % 4


def average_rate(stream: av.VideoStream) -> float:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return float(rate) if rate else 25.0
