"""Video files, opened and decoded under suspicion: what a file asks for is not done unless it is listed here.

A file is opened by its descriptor, so ffmpeg sees no name: it is what its content says, and it can open nothing else.
"""

import contextlib
import dataclasses
import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.container
import av.error
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
      wall_s: seconds that decoding takes; a single wait for the file's bytes ends then, too.
      open_s: seconds that opening takes.
    """

    num_frames: int = 500_000
    num_pixels: int = 36_000_000
    wall_s: float = 600.0
    open_s: float = 60.0


LIMITS = Limits()

# ffmpeg's names of containers that hold their own video. Playlists, session descriptions, sequences of pictures and
# text that becomes pictures are not among them: such files name other files and hosts.
CONTAINERS = (
    *("asf", "avi", "dv", "flv", "gif", "gxf", "h264", "hevc", "ivf", "m4v", "matroska", "mjpeg", "mov", "mpeg"),
    *("mpegts", "mpegvideo", "mxf", "nut", "ogg", "rm", "wtv", "yuv4mpegpipe"),
)
# PyAV 19 reads metadata that is not UTF-8 by itself, and no longer has the option.
_METADATA: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}


@contextlib.contextmanager
def open_container(path: str | Path, limits: Limits) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Opens a file for reading; gives it with its best video stream, the one with the most pixels.

    Raises:
      VideoError: it is missing, no regular file, no container of `CONTAINERS`, holds no video, or takes too long.
    """
    with _open(path, limits) as container:
        # A cover picture is a video stream to ffmpeg.
        found = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        streams = [s for s in found if s.codec_context is not None]  # None: of a codec that nobody knows
        if not streams:
            raise VideoError(f"{path}: holds no video stream")
        stream = max(streams, key=lambda s: s.width * s.height)
        # Clips are decoded side by side in threads of their own; threads inside one decoder only cost.
        stream.thread_type = "NONE"
        yield container, stream


def decoded_frames(
    path: str | Path, container: av.container.InputContainer, stream: av.VideoStream, limits: Limits
) -> Iterator[av.VideoFrame]:
    """Yields the frames of a stream in the order in which the decoder puts them out, from where the file stands.

    Raises:
      VideoError: the file stops decoding before its end, or is beyond the limits.
    """
    num_frames, deadline = 0, time.monotonic() + limits.wall_s
    _check_pixels(path, stream.width, stream.height, limits)  # before a decoder makes room for them
    try:
        for packet in _packets(container):
            if time.monotonic() > deadline:
                break
            for frame in packet.decode() if packet.stream is stream else ():
                assert isinstance(frame, av.VideoFrame)
                _check_pixels(path, frame.width, frame.height, limits)
                if num_frames == limits.num_frames:
                    raise VideoError(f"{path}: has more than {limits.num_frames:,} frames; cut it into shorter videos")
                if frame.is_corrupt:
                    raise VideoError(f"{path}: frame {num_frames} is damaged")
                yield frame
                num_frames += 1
    except av.error.FFmpegError as error:
        if time.monotonic() <= deadline:  # or the error is that time was up
            raise VideoError(f"{path}: {num_frames} frames decode, then {reason(error)}") from error
    if time.monotonic() > deadline:  # ffmpeg may take a wait that was ended for the file's end
        raise VideoError(f"{path}: {num_frames} frames decode in {limits.wall_s:g} s, and then time is up")


def reason(error: Exception | None) -> str:
    """Returns an error of ffmpeg or of the system in one line."""
    return f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"


@contextlib.contextmanager
def _open(path: str | Path, limits: Limits) -> Iterator[av.container.InputContainer]:
    descriptor, started = _open_regular(path), time.monotonic()
    options = {
        "fd": str(descriptor),
        "protocol_whitelist": "fd",  # which opens one descriptor, and no file or host by name
        "format_whitelist": ",".join(CONTAINERS),
    }
    container, failed = None, None
    try:
        container = av.open("fd:", options=options, timeout=(limits.open_s, limits.wall_s), **_METADATA)
    except (av.error.FFmpegError, OSError) as error:
        failed = error
    finally:
        os.close(descriptor)  # ffmpeg has a duplicate
    if time.monotonic() - started > limits.open_s:  # ffmpeg may take a wait that was ended for the file's end
        raise VideoError(f"{path}: does not open in {limits.open_s:g} s") from failed
    if failed is not None and failed.errno == errno.EINVAL:  # what ffmpeg says of a format that is not in the list
        raise VideoError(f"{path}: holds no video stream in one of {', '.join(CONTAINERS)}") from failed
    if container is None:
        raise VideoError(f"{path}: no video can be opened ({reason(failed)})") from failed
    with container:
        yield container


def _open_regular(path: str | Path) -> int:
    """Returns a descriptor of a regular file, after links; pipes, sockets and devices are never waited for."""
    try:
        _check_regular(path, os.stat(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise VideoError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise VideoError(f"{path}: no video can be opened ({reason(error)})") from error
    try:
        _check_regular(path, os.fstat(descriptor))  # what was opened, should the name have got another meaning
    except VideoError:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(path: str | Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise VideoError(f"{path}: no video can be opened (it is no regular file)")


def _packets(container: av.container.InputContainer) -> Iterator[av.Packet]:
    """Yields all packets: a file of other streams' packets must not be waited for without looking at the time."""
    packets = container.demux()
    while True:
        try:
            packet = next(packets, None)
        except IndexError:
            # PyAV 18 ends streams that it has not seen begin; those that it knows have ended before.
            return
        if packet is None:
            return
        yield packet


def _check_pixels(path: str | Path, width: int, height: int, limits: Limits) -> None:
    if width * height > limits.num_pixels:
        raise VideoError(
            f"{path}: a frame of {width} x {height} is more than {limits.num_pixels:,} pixels; scale the video down"
        )
