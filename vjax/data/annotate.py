"""Writes a video again with texts in its frames, and with its sound."""

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import av.audio
import av.container
import av.error
import cv2
import numpy as np

from vjax.data import decode
from vjax.data.container import LONG, open_container, reason
from vjax.data.encode import check_output, even_sides, frame_rate_of, video_frames
from vjax.errors import InputError

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SHARE = 0.06  # height of a line of text as a share of the frame's
_LEAST_PX = 12
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)


def check_annotated(path: str | Path, out: str | Path) -> None:
    """Raises an InputError if an annotated video cannot be written, is the video itself, or does not end in .mp4."""
    path, out = Path(path), Path(out)
    if out.suffix.lower() != ".mp4":
        raise InputError(f"{out}: a video with texts is an .mp4 file")
    check_output(out)
    if out.exists() and path.exists() and out.samefile(path):
        raise InputError(f"{out} is the video itself; give another file")


def annotate_video(path: str | Path, out: str | Path, text_at: Callable[[float], str]) -> str:
    """Writes an MP4 file of a video with a text in each frame, and with the sound of the video.

    One frame is in memory at a time. The frames are written at the mean rate of the file. The sound is encoded again,
    as AAC.

    Args:
      path: video file.
      out: MP4 file to write; another file than the video.
      text_at: function from the time of a frame, in seconds, to its text; empty for none.

    Returns:
      the reason why the sound ends early; empty if all of it was written, or there is none.

    Raises:
      InputError: the file cannot be written, is the video itself, or does not end in .mp4.
      VideoError: the video cannot be read to its end.
    """
    path, out = Path(path), Path(out)
    check_annotated(path, out)
    fps = decode.frame_rate(path)
    rate = frame_rate_of(fps)
    try:
        with av.open(str(out), "w", format="mp4") as container, _Sound(path, container) as sound:
            stream = container.add_stream("libx264", rate=rate, options={"crf": "20"})
            frames = enumerate(decode.iterate_video(path, limits=LONG))
            pictures = (_draw(frame, text_at(index / fps)) for index, frame in frames)
            for index, picture in enumerate(video_frames(pictures, rate)):
                if index == 0:
                    stream.height, stream.width, stream.pix_fmt = picture.height, picture.width, "yuv420p"
                container.mux(stream.encode(picture))
                sound.write_until(index / fps)
            container.mux(stream.encode())
            sound.write_until(float("inf"))
            return sound.error
    except (OSError, av.error.FFmpegError) as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from error


def _draw(frame: np.ndarray, text: str) -> np.ndarray:
    """Returns a frame with even sizes, and a text in its upper left corner on a dark strip."""
    picture = np.ascontiguousarray(even_sides(frame))
    if not text:
        return picture
    height = max(_LEAST_PX, round(_SHARE * picture.shape[0]))
    strip = picture[: height + height // 2]
    strip[:] = strip // 3
    shown = text.encode("ascii", "replace").decode()  # OpenCV's font has no other letters
    scale = height / 30
    # A text that is wider than the frame is written smaller.
    (width, _), _ = cv2.getTextSize(shown, _FONT, scale, max(1, round(scale)))
    scale *= min(1.0, (picture.shape[1] - height // 3) / max(width, 1))
    cv2.putText(picture, shown, (height // 3, height), _FONT, scale, (255, 255, 255), max(1, round(scale)), cv2.LINE_AA)
    return picture


class _Sound:
    """The sound of a video, written beside its frames; nothing if it has none."""

    def __init__(self, path: Path, target: av.container.OutputContainer):
        self._path, self._target = path, target
        self._frames: Iterator[av.audio.frame.AudioFrame] | None = None
        self._stream: av.audio.stream.AudioStream | None = None
        self._written_s = -1.0
        self.error = ""

    def __enter__(self) -> "_Sound":
        self._opened = open_container(self._path, LONG)
        container, _ = self._opened.__enter__()
        if container.streams.audio:
            source = container.streams.audio[0]
            rate = min(_AAC_RATES, key=lambda rate: abs(rate - source.rate))
            self._stream = self._target.add_stream("aac", rate=rate)
            self._frames = container.decode(source)
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.__exit__(None, None, None)

    def write_until(self, seconds: float) -> None:
        """Writes the sound up to a time of the video; at the end also what the encoder has kept."""
        while self._frames is not None and self._stream is not None and self._written_s < seconds:
            try:
                frame = next(self._frames, None)
            except av.error.FFmpegError as error:  # the frames go on without it
                frame, self.error = None, reason(error)
            if frame is None:
                self._target.mux(self._stream.encode())
                self._frames = None
                return
            self._written_s = frame.time if frame.time is not None else seconds
            self._target.mux(self._stream.encode(frame))
