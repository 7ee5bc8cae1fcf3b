"""Writes frames to PNG, GIF and MP4 files, one frame at a time; the file's ending decides the format.

Small pictures and videos also come as bytes.
"""

import io
import os
from collections.abc import Iterable, Iterator, Sized
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import av.filter
import numpy as np
from PIL import Image

from vjax.errors import InputError

_STRIP_FRAMES = 8
_GIF_FPS = 50.0  # a GIF counts time in 1/100 s, and players slow down frames that are shorter than 2/100 s


def check_output(path: str | Path) -> None:
    """Checks that `write_frames` can write a file, before the frames are computed; it creates nothing.

    Raises:
      InputError: the file has another ending, its folder does not exist, or there is no permission to write it.
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        raise InputError(f"{path}: the ending decides the format; it must be one of {', '.join(_WRITERS)}")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}")
    if path.is_dir():
        raise InputError(f"{path} cannot be written: it is a folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"{path} cannot be written: no permission")


def write_frames(path: str | Path, frames: Iterable[np.ndarray], *, fps: float, num_frames: int | None = None) -> None:
    """Writes uint8 frames `(t h w 3)` as an animated GIF, an MP4 or a PNG.

    A PNG shows up to 8 frames, evenly spaced in time, in one row; only these are kept in memory. A GIF has the 255
    best colors of each frame, and plays at up to 50 frames per second.

    Args:
      path: file to write; its ending is .png, .gif or .mp4.
      frames: array, or stream of frames `(h w 3)`.
      fps: frames per second.
      num_frames: number of frames in a stream, for a PNG.

    Raises:
      InputError: the file has another ending, or cannot be written.
    """
    check_output(path)
    path = Path(path)
    try:
        _WRITERS[path.suffix.lower()](path, frames, fps, len(frames) if isinstance(frames, Sized) else num_frames)
    except (OSError, av.error.FFmpegError) as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def written_size(path: str | Path) -> tuple[int, int]:
    """Returns the width and height in pixels of a file that `write_frames` has written; a strip is one picture."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.width, stream.height


def _write_png(path: Path, frames: Iterable[np.ndarray], fps: float, num_frames: int | None) -> None:
    del fps
    assert num_frames is not None, "a PNG of a stream needs num_frames"
    shown = set(np.linspace(0, num_frames - 1, min(num_frames, _STRIP_FRAMES)).round().astype(int).tolist())
    strip = [frame for index, frame in enumerate(frames) if index in shown]
    Image.fromarray(np.concatenate(strip, axis=1)).save(path)


def _write_gif(path: Path, frames: Iterable[np.ndarray], fps: float, num_frames: int | None) -> None:
    del num_frames
    rate = frame_rate_of(min(fps, _GIF_FPS))
    _encode(path, _with_palettes(video_frames(frames, rate)), rate, codec="gif", pix_fmt="pal8")


def _write_mp4(path: Path, frames: Iterable[np.ndarray], fps: float, num_frames: int | None) -> None:
    del num_frames
    _encode(path, video_frames(map(even_sides, frames), frame_rate_of(fps)), frame_rate_of(fps), **_H264)


def encode_mp4(frames: Iterable[np.ndarray], *, fps: float) -> bytes:
    """Returns uint8 frames `(t h w 3)` as the bytes of an MP4 file."""
    content = io.BytesIO()
    _encode(content, video_frames(map(even_sides, frames), frame_rate_of(fps)), frame_rate_of(fps), **_H264)
    return content.getvalue()


def encode_gif(frames: Iterable[np.ndarray], *, fps: float) -> bytes:
    """Returns uint8 frames `(t h w 3)` as the bytes of an animated GIF, which plays at up to 50 frames per second."""
    rate, content = frame_rate_of(min(fps, _GIF_FPS)), io.BytesIO()
    _encode(content, _with_palettes(video_frames(frames, rate)), rate, codec="gif", pix_fmt="pal8", container="gif")
    return content.getvalue()


def encode_png(picture: np.ndarray) -> bytes:
    """Returns a uint8 picture `(h w 3)` or `(h w)` as the bytes of a PNG file."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, format="png")
    return content.getvalue()


# yuv420p, the H.264 format that every player reads.
_H264: dict[str, Any] = {"codec": "libx264", "pix_fmt": "yuv420p", "options": {"crf": "18"}}


def even_sides(frame: np.ndarray) -> np.ndarray:
    """Returns a frame with an even number of rows and columns, as H.264 needs: repeats the last ones."""
    return np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")


_WRITERS = {".png": _write_png, ".gif": _write_gif, ".mp4": _write_mp4}
_MAX_SIDE = {"gif": 65535, "libx264": 16384}  # largest height or width of a frame, in pixels


def frame_rate_of(fps: float) -> Fraction:
    """Returns frames per second as a fraction that codecs take; at least 1/1001."""
    return max(Fraction(fps).limit_denominator(1001), Fraction(1, 1001))


def video_frames(frames: Iterable[np.ndarray], rate: Fraction) -> Iterator[av.VideoFrame]:
    """Yields uint8 frames `(h w 3)` as those that an encoder takes, with their time stamps."""
    for index, frame in enumerate(frames):
        video_frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        video_frame.pts, video_frame.time_base = index, 1 / rate
        yield video_frame


def _with_palettes(frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Yields each frame with a palette of its own best colors."""
    graph = None
    for frame in frames:
        graph = graph or _palette_graph(frame)
        yield from _pass(graph, frame)
    if graph is not None:
        yield from _pass(graph, None)


def _palette_graph(frame: av.VideoFrame) -> av.filter.Graph:
    """Returns a filter graph in which paletteuse gets each frame, and its palette from palettegen."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    split, find = graph.add("split"), graph.add("palettegen", "stats_mode=single")
    use, sink = graph.add("paletteuse", "new=1:dither=none"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(find, 1, 0)
    find.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


def _pass(graph: av.filter.Graph, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
    """Pushes a frame, or None for the end, into a graph, and yields the frames that are ready."""
    graph.push(frame)
    while True:
        try:
            ready = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):  # the graph waits for the next frame, or has ended
            return
        assert isinstance(ready, av.VideoFrame)
        yield ready


def _encode(
    target: Path | io.BytesIO,
    frames: Iterable[av.VideoFrame],
    rate: Fraction,
    *,
    codec: str,
    pix_fmt: str,
    options: dict[str, str] | None = None,
    container: str = "mp4",
) -> None:
    file = target if isinstance(target, io.BytesIO) else str(target)
    with av.open(file, "w", format=container if isinstance(target, io.BytesIO) else None) as opened:
        stream = opened.add_stream(codec, rate=rate, options=options)
        assert isinstance(stream, av.VideoStream)
        for frame in frames:
            if not stream.codec_context.is_open:
                if isinstance(target, Path):
                    _check_size(target, frame, _MAX_SIDE[codec])
                stream.height, stream.width, stream.pix_fmt = frame.height, frame.width, pix_fmt
            opened.mux(stream.encode(frame))
        opened.mux(stream.encode())


def _check_size(path: Path, frame: av.VideoFrame, max_side: int) -> None:
    if max(frame.height, frame.width) > max_side:
        raise InputError(
            f"{path} cannot be written: a {path.suffix} has up to {max_side} rows and columns, and the frames have "
            f"{frame.height} rows and {frame.width} columns; write a .png"
        )
