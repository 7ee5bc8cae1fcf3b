"""Video that comes while it is read: from a pipe, a camera or an address.

A thread of its own opens and decodes the stream, and keeps a fixed number of small frames. Cameras and live addresses
do not wait: if nobody takes the frames in time, the oldest are dropped and counted. Pipes and files on a server do.
"""

import collections
import contextlib
import dataclasses
import os
import re
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import av
import av.container
import av.error
import numpy as np

from vjax.data.container import CONTAINERS, Limits, VideoError, best_stream, check_pixels, read_packets, reason
from vjax.data.decode import average_rate, to_rgb
from vjax.errors import InputError

T = TypeVar("T")

STANDARD_INPUT = "-"
_HINT = "an MP4 file in a pipe needs its index in front, as ffmpeg -movflags +faststart writes it"
_LIMITS = Limits()
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_SECRETS = re.compile(r"(?<=://)[^/?#]*@|[?#].*")
_WAITING, _LIVE = ("http", "https", "tcp"), ("rtmp", "rtsp", "udp")
# A playlist (hls) names further addresses; these protocols keep it from reading files.
_PROTOCOLS = ("crypto", "http", "https", "httpproxy", "rtmp", "rtp", "tcp", "tls", "udp")
_REMOTE_FORMATS = ("hls", "mpjpeg", "rtsp")
_WITHOUT_TIMES = "mpjpeg"  # ffmpeg's name of JPEG files one after the other, without times
_LEAST_PERIOD_S = 0.001  # from one frame of a clip to the next
_CAMERAS = "v4l2"  # ffmpeg's name of the reader of Linux's video devices
_GAP_S = 1.0  # after a longer time without a frame, windows begin anew


def is_stream(place: str) -> bool:
    """Returns whether a place is standard input ("-"), a pipe, a device or an address, and not a file or a folder."""
    return place == STANDARD_INPUT or bool(_ADDRESS.match(place)) or _kind(place) != ""


def check_address(place: str, *, allowed: bool) -> None:
    """Raises an InputError if a place is an address that is not allowed, or whose protocol vjax does not open."""
    address = _ADDRESS.match(place)
    if address is None:
        return
    if address["scheme"].lower() not in (*_WAITING, *_LIVE):
        raise InputError(
            f"{shown_name(place)}: addresses begin with one of "
            f"{', '.join(f'{scheme}://' for scheme in (*_WAITING, *_LIVE))}; give a file as a path"
        )
    if not allowed:
        raise InputError(f"{shown_name(place)} is an address; give --allow-url to open it")


def shown_name(place: str) -> str:
    """Returns the name of a stream for messages, without what may be secret in an address: its user and its query.

    >>> shown_name("rtsp://user:secret@camera.example/1?key=2"), shown_name("-")
    ('rtsp://camera.example/1', 'standard input')
    """
    if place == STANDARD_INPUT:
        return "standard input"
    return _SECRETS.sub("", place) if _ADDRESS.match(place) else place


@dataclasses.dataclass(frozen=True)
class StreamFrame:
    """A frame of a stream.

    Attributes:
      start_s: time of the frame, in seconds since the first one.
      end_s: time up to which it is shown.
      arrived_s: time at which it was decoded, on the clock of `time.monotonic`.
      pixels: the frame, as the stream's `resize` returns it.
      follows: whether the frame before it is the one that came before; False for the first frame, and after frames that
        were dropped or did not come.
    """

    start_s: float
    end_s: float
    arrived_s: float
    pixels: np.ndarray
    follows: bool


class VideoStream:
    """The frames of a stream at the rate of clips; iterating yields each once, as a `StreamFrame`.

    Attributes:
      name: name for messages.
      num_frames: number of frames at the rate of clips that have come.
      num_dropped: number of those that were dropped, because they were not taken in time.
      num_damaged: number of packets and frames that could not be decoded.
    """

    def __init__(
        self,
        place: str,
        *,
        resize: Callable[[np.ndarray], np.ndarray],
        step: Callable[[float], float],
        stall_s: float,
        capacity: int,
    ):
        """Starts to read.

        Args:
          place: "-" for standard input, a named pipe, a video device, or an address.
          resize: function from a frame `(h w 3)` to what is kept of it.
          step: function from the frame rate of the stream to the number of its frames from one kept frame to the next.
          stall_s: seconds without a frame after which the stream is given up.
          capacity: number of kept frames from which on the oldest are dropped, or the stream waits.
        """
        self.name = shown_name(place)
        self.num_frames = self.num_dropped = self.num_damaged = 0
        self._place, self._resize, self._step, self._stall_s = place, resize, step, stall_s
        self._capacity, self._drops = capacity, is_live(place)
        self._kept: collections.deque[StreamFrame] = collections.deque()
        self._changed = threading.Condition()
        self._error: Exception | None = None
        self._ended = self._closed = False
        # A thread that waits for a stream must not keep the process alive.
        threading.Thread(target=self._read, name=f"stream {self.name}", daemon=True).start()

    def __enter__(self) -> "VideoStream":
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[StreamFrame]:
        """Yields the frames.

        Raises:
          VideoError: the stream cannot be opened, has no video, or stalls.
        """
        while True:
            with self._changed:
                came = self._changed.wait_for(lambda: self._kept or self._ended, timeout=self._stall_s)
                if not came:
                    raise VideoError(f"{self.name}: stalls; no frame came for {self._stall_s:g} s")
                if not self._kept:
                    break
                frame = self._kept.popleft()
                self._changed.notify_all()
            yield frame
        if self._error is not None:
            raise self._error
        if not self.num_frames:
            raise VideoError(f"{self.name}: ends before its first frame")

    def _read(self) -> None:
        """Reads the stream to its end; runs in a thread."""
        try:
            with _open(self._place, self.name, stall_s=self._stall_s) as container:
                stream = best_stream(self.name, container)
                fps, has_times = average_rate(stream), container.format.name != _WITHOUT_TIMES
                # A camera behind an HTTP server, or a live playlist.
                if not has_times or (container.format.name == "hls" and container.duration is None):
                    self._drops = True
                period_s = self._step(fps) / fps
                if period_s < _LEAST_PERIOD_S:
                    raise VideoError(
                        f"{self.name}: its frame rate is not known; use a network whose clips have a rate (clip.fps)"
                    )
                timed = (
                    (frame.time if has_times else time.monotonic(), frame) for frame in self._decoded(container, stream)
                )
                for start_s, follows, frame in at_rate(timed, period_s=period_s, fps=fps):
                    small = self._resize(to_rgb(self.name, frame, (frame.width, frame.height)))
                    if not self._keep(StreamFrame(start_s, start_s + period_s, time.monotonic(), small, follows)):
                        return
        except (av.error.FFmpegError, OSError) as error:
            what = "breaks off" if self.num_frames else "no video can be opened"
            # Their index may be at their end.
            hint = "" if self.num_frames or not _is_pipe(self._place) else "; " + _HINT
            self._error = VideoError(f"{self.name}: {what} ({reason(error)}){hint}")
        except Exception as error:  # a thread cannot raise: the one that takes the frames raises it
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _decoded(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        """Yields the frames that can be decoded: a stream may begin, and lose packets, in the middle of a picture."""
        check_pixels(self.name, stream, _LIMITS)
        for packet in read_packets(container):
            if packet.stream is not stream:
                continue
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                self.num_damaged += 1
                continue
            for frame in frames:
                assert isinstance(frame, av.VideoFrame)
                check_pixels(self.name, frame, _LIMITS)
                if frame.is_corrupt:
                    self.num_damaged += 1
                else:
                    yield frame

    def _keep(self, frame: StreamFrame) -> bool:
        """Keeps a frame until it is taken; returns whether more are wanted."""
        with self._changed:
            self.num_frames += 1
            if self._drops:
                if len(self._kept) == self._capacity:
                    self._kept.popleft()
                    self.num_dropped += 1
                    if self._kept:
                        self._kept[0] = dataclasses.replace(self._kept[0], follows=False)
            else:
                self._changed.wait_for(lambda: len(self._kept) < self._capacity or self._closed)
            self._kept.append(frame)
            self._changed.notify_all()
            return not self._closed


def is_live(place: str) -> bool:
    """Returns whether a stream goes on while nobody reads it; pipes and files on a server wait."""
    address = _ADDRESS.match(place)
    return _kind(place) == "device" if address is None else address["scheme"].lower() in _LIVE


def at_rate(
    frames: Iterable[tuple[float | None, T]], *, period_s: float, fps: float
) -> Iterator[tuple[float, bool, T]]:
    """Yields frames at a fixed rate, each with its time in seconds and whether it follows the one before.

    It yields the first frame at or after each multiple of the period. If the stream is slower, frames repeat; after
    more than a second without a frame, time goes on with the next frame. A clock that jumps back is continued.

    Args:
      frames: pairs of a time stamp in seconds, None if it is not known, and a frame.
      period_s: seconds from one yielded frame to the next.
      fps: frames per second of the stream, for frames without a time stamp.

    >>> [(time_s, frame) for time_s, _, frame in at_rate([(7.0, "a"), (7.1, "b"), (7.2, "c")], period_s=0.2, fps=10)]
    [(0.0, 'a'), (0.2, 'c')]
    """
    gap_s = max(_GAP_S, 3 / fps)
    origin: float | None = None  # time stamp of time 0
    last, first, sent = 0.0, 0.0, 0  # time of the last frame; time of the first of this run, and how many it has
    begun = False
    for stamp, frame in frames:
        guess = last + 1 / fps if begun else 0.0
        if stamp is not None and origin is None:
            origin = stamp - guess
        now = guess if stamp is None or origin is None else stamp - origin
        if stamp is not None and now < last - gap_s:
            now, origin = guess, stamp - guess
        now = max(now, last)
        if not begun or now - last > gap_s:
            first, sent = now, 0
        begun, last = True, now
        while first + sent * period_s <= now + 1e-6:
            yield first + sent * period_s, sent > 0, frame
            sent += 1


@contextlib.contextmanager
def _open(place: str, name: str, *, stall_s: float) -> Iterator[av.container.InputContainer]:
    """Opens a stream as ffmpeg finds it best; only the formats and protocols of this module are allowed."""
    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "fd"}
    timeouts = (2 * stall_s, 2 * stall_s)  # the reader of the frames has told the stall by then
    with contextlib.ExitStack() as opened:
        source: Any = place
        form = None
        if _ADDRESS.match(place):
            options["format_whitelist"] = ",".join((*CONTAINERS, *_REMOTE_FORMATS))
            options["protocol_whitelist"] = ",".join(_PROTOCOLS)
        elif _kind(place) == "device":
            if not any(_CAMERAS in names.split(",") for names in av.formats_available):
                raise VideoError(f"{name}: this build of PyAV reads no cameras ({_CAMERAS} is missing)")
            form = _CAMERAS
            del options["format_whitelist"]
        else:
            descriptor = sys.stdin.fileno() if place == STANDARD_INPUT else os.path.expanduser(place)
            if place == STANDARD_INPUT:
                os.set_blocking(sys.stdin.fileno(), True)  # some programs leave it otherwise
            source = _Pipe(opened.enter_context(open(descriptor, "rb", buffering=0, closefd=place != STANDARD_INPUT)))
        container = av.open(source, format=form, options=options, timeout=timeouts)
        assert isinstance(container, av.container.InputContainer)
        yield opened.enter_context(container)


class _Pipe:
    """A pipe without the methods that let ffmpeg jump in it."""

    def __init__(self, opened: Any):
        self._opened = opened

    def read(self, size: int) -> bytes:
        """Returns the next bytes, as soon as there are some."""
        return self._opened.read(size)


def _is_pipe(place: str) -> bool:
    return place == STANDARD_INPUT or _kind(place) == "pipe"


def _kind(place: str) -> str:
    """Returns "pipe" or "device" for paths of such, and "" for others."""
    try:
        mode = os.stat(os.path.expanduser(place)).st_mode
    except (OSError, ValueError):
        return ""
    if stat.S_ISFIFO(mode):
        return "pipe"
    return "device" if stat.S_ISCHR(mode) else ""
