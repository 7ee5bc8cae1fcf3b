"""Writes frames to PNG, GIF and MP4 files; the file's ending decides the format."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from vjax.errors import InputError

_STRIP_FRAMES = 8


def write_frames(path: str | Path, frames: np.ndarray, *, fps: float) -> None:
    """Writes uint8 frames `(t h w 3)` as an animated GIF, an MP4 or a PNG.

    A PNG shows up to 8 frames, evenly spaced in time, in one row.

    Raises:
      InputError: the file has another ending, or its folder does not exist.
    """
    path = Path(path)
    writers = {".png": _write_png, ".gif": _write_gif, ".mp4": _write_mp4}
    if path.suffix.lower() not in writers:
        raise InputError(f"{path}: the ending decides the format; it must be one of {', '.join(writers)}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}")
    writers[path.suffix.lower()](path, frames, fps)


def _write_png(path: Path, frames: np.ndarray, fps: float) -> None:
    del fps
    chosen = frames[np.linspace(0, len(frames) - 1, min(len(frames), _STRIP_FRAMES)).round().astype(int)]
    Image.fromarray(np.concatenate(list(chosen), axis=1)).save(path)


def _write_gif(path: Path, frames: np.ndarray, fps: float) -> None:
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0)


def _write_mp4(path: Path, frames: np.ndarray, fps: float) -> None:
    # yuv420p, the H.264 format that every player reads, needs even numbers of rows and columns: repeat the last ones.
    even = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options={"crf": "18"})
        stream.height, stream.width, stream.pix_fmt = *even.shape[1:3], "yuv420p"
        for frame in even:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
