"""Opens and decodes untrusted video files; only the containers and the protocol listed here are allowed.

ffmpeg gets a file as a descriptor, without its name. So the content alone decides the format, and ffmpeg cannot open
other files.
"""

import contextlib
import dataclasses
import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
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
    """Upper limits on the cost of one file; a file that exceeds a limit is rejected.

    Attributes:
      num_frames: maximum number of decoded frames.
      num_pixels: maximum number of pixels in a frame; an 8K frame has 33 million.
      wall_s: maximum time for decoding, in seconds; also the timeout of a single read.
      open_s: maximum time for opening the file, in seconds.
    """

    num_frames: int = 500_000
    num_pixels: int = 36_000_000
    wall_s: float = 600.0
    open_s: float = 60.0


LIMITS = Limits()
# For videos that are read once, from their start to their end, with little of them in memory.
LONG = Limits(num_frames=100_000_000, wall_s=24 * 3600.0)


class Clock:
    """Measures the seconds spent on a file, without those that a caller spends on its frames."""

    def __init__(self):
        self._paused_s = 0.0

    def now(self) -> float:
        """Returns the current time in seconds; only differences of two times have a meaning."""
        return time.monotonic() - self._paused_s

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock inside a `with` block."""
        started = time.monotonic()
        yield
        self._paused_s += time.monotonic() - started


# ffmpeg's names of the allowed containers: those that hold the video itself. Playlists, session descriptions, image
# sequences and text that ffmpeg renders as video are excluded, because such files refer to other files and hosts.
CONTAINERS = (
    *("asf", "avi", "dv", "flv", "gif", "gxf", "h264", "hevc", "ivf", "m4v", "matroska", "mjpeg", "mov", "mpeg"),
    *("mpegts", "mpegvideo", "mxf", "nut", "ogg", "rm", "wtv", "yuv4mpegpipe"),
)
# The first bytes of picture files, by format; a GIF may be a video.
_PICTURES = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)|(?P<PNG>\x89PNG\r\n)|(?P<WebP>RIFF.{4}WEBP)|(?P<BMP>BM.{4}\0{4})|(?P<TIFF>II\*\0|MM\0\*)"
    rb"|(?P<AVIF>.{4}ftypavi[fs])|(?P<HEIF>.{4}ftyp(?:hei|hev|mif|msf))|(?P<PNM>P[1-7]\s+[\d#W])"
    rb"|(?P<JPEG2000>\0{3}\x0cjP  \r\n)",
    re.DOTALL,
)
# PyAV 19 itself handles metadata that is not UTF-8, and no longer has this option.
_METADATA: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}


@contextlib.contextmanager
def open_container(path: str | Path, limits: Limits) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Opens a file and yields it with its best video stream, the one with the most pixels.

    Raises:
      VideoError: the file is missing, is not a regular file, is a picture, is not one of `CONTAINERS`, has no video
        stream, or takes too long to open.
    """
    with _open(path, limits) as container:
        stream = best_stream(path, container)
        # Clips are already decoded in parallel threads, so threads inside one decoder only add cost.
        stream.thread_type = "NONE"
        yield container, stream


def best_stream(path: str | Path, container: av.container.InputContainer) -> av.VideoStream:
    """Returns the video stream with the most pixels.

    Raises:
      VideoError: there is no video stream with a known codec.
    """
    # ffmpeg lists cover pictures as video streams.
    found = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    streams = [s for s in found if s.codec_context is not None]  # None: unknown codec
    if not streams:
        raise VideoError(f"{path}: holds no video stream")
    return max(streams, key=lambda s: s.width * s.height)


def decoded_frames(
    path: str | Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    limits: Limits,
    *,
    now: Callable[[], float] = time.monotonic,
) -> Iterator[av.VideoFrame]:
    """Yields the frames of a stream in the decoder's output order, from the file's current position.

    Raises:
      VideoError: decoding fails before the end of the file, the file exceeds the limits, or it is a GIF of one frame.
    """
    num_frames, deadline = 0, now() + limits.wall_s
    check_pixels(path, stream, limits)  # before a decoder allocates memory for them
    # Each packet is checked against the deadline, each frame against the other limits.
    try:
        for packet in read_packets(container):
            if now() > deadline:
                break
            for frame in packet.decode() if packet.stream is stream else ():
                assert isinstance(frame, av.VideoFrame)
                check_pixels(path, frame, limits)
                if num_frames == limits.num_frames:
                    raise VideoError(f"{path}: has more than {limits.num_frames:,} frames; cut it into shorter videos")
                if frame.is_corrupt:
                    raise VideoError(f"{path}: frame {num_frames} is damaged")
                yield frame
                num_frames += 1
    except av.error.FFmpegError as error:
        if now() <= deadline:  # after the deadline, the error may be the timeout itself
            raise VideoError(f"{path}: decoding fails after {num_frames} frames: {reason(error)}") from error
    if num_frames == 1 and container.format.name == "gif":
        raise _picture(path, "GIF of one frame")
    if now() > deadline:  # ffmpeg may report a read that timed out as the end of the file
        raise VideoError(f"{path}: decoding takes more than {limits.wall_s:g} s; {num_frames} frames were decoded")


def reason(error: Exception | None) -> str:
    """Returns a one-line description of an error of ffmpeg or of the operating system."""
    return f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"


@contextlib.contextmanager
def _open(path: str | Path, limits: Limits) -> Iterator[av.container.InputContainer]:
    descriptor, started = _open_regular(path), time.monotonic()
    options = {
        "fd": str(descriptor),
        "protocol_whitelist": "fd",  # opens a descriptor, never a file or a host by name
        "format_whitelist": ",".join(CONTAINERS),
    }
    container, failed, picture = None, None, None
    try:
        picture = _PICTURES.match(os.pread(descriptor, 32, 0))
        if picture and picture.lastgroup in ("AVIF", "HEIF"):  # ffmpeg would read a video of one frame
            raise _picture(path, picture.lastgroup)
        container = av.open("fd:", options=options, timeout=(limits.open_s, limits.wall_s), **_METADATA)
    except (av.error.FFmpegError, OSError) as error:
        failed = error
    finally:
        os.close(descriptor)  # ffmpeg has its own duplicate
    if time.monotonic() - started > limits.open_s:  # ffmpeg may report a read that timed out as the end of the file
        raise VideoError(f"{path}: does not open in {limits.open_s:g} s") from failed
    if failed is not None and picture:
        raise _picture(path, picture.lastgroup or "") from failed
    if failed is not None and failed.errno == errno.EINVAL:  # the format is not in the whitelist
        raise VideoError(f"{path}: holds no video stream in one of {', '.join(CONTAINERS)}") from failed
    if container is None:
        raise VideoError(f"{path}: no video can be opened ({reason(failed)})") from failed
    with container:
        yield container


def _open_regular(path: str | Path) -> int:
    """Returns a descriptor of a regular file; follows links, and never waits for pipes, sockets or devices."""
    try:
        _check_regular(path, os.stat(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise VideoError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise VideoError(f"{path}: no video can be opened ({reason(error)})") from error
    try:
        _check_regular(path, os.fstat(descriptor))  # again: the path may have been replaced in between
    except VideoError:
        os.close(descriptor)
        raise
    return descriptor


def _picture(path: str | Path, kind: str) -> VideoError:
    return VideoError(
        f"{path}: is a picture ({kind}), not a video; remove it, or turn pictures into a video file with ffmpeg"
    )


def _check_regular(path: str | Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise VideoError(f"{path}: no video can be opened (it is not a regular file)")


def read_packets(container: av.container.InputContainer) -> Iterator[av.Packet]:
    """Yields the packets of all streams, so that the caller can check the time between packets of other streams."""
    packets = container.demux()
    while True:
        try:
            packet = next(packets, None)
        except IndexError:
            # At the end of a file, PyAV 18 fails to flush a stream that appeared after opening. It has flushed the
            # other streams by then.
            return
        if packet is None:
            return
        yield packet


def check_pixels(path: str | Path, picture: av.VideoStream | av.VideoFrame, limits: Limits) -> None:
    """Raises a VideoError if a frame, or those of a stream, have more pixels than the limit."""
    width, height = picture.width, picture.height
    if width * height > limits.num_pixels:
        raise VideoError(
            f"{path}: a frame of {width} x {height} is more than {limits.num_pixels:,} pixels; scale the video down"
        )
