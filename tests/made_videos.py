"""Small videos, made by code, whose frames say which one they are: the gray level is a multiple of the index."""

import av
import numpy as np

_STEP = 8  # gray levels from one frame to the next: more than a codec is off by
_LOSSLESS = {  # codec, pixel format and options, by the file's ending
    ".mkv": ("ffv1", "bgr0", {}),
    ".avi": ("png", "rgb24", {}),
    ".mp4": ("libx264", "yuv444p", {"crf": "0"}),  # but for rounding between RGB and YUV
}


def numbered_frames(num_frames, *, height=16, width=24):
    """Returns up to 31 uint8 frames `(t h w 3)`."""
    assert num_frames * _STEP < 256
    levels = np.arange(num_frames, dtype=np.uint8) * _STEP
    return np.broadcast_to(levels[:, None, None, None], (num_frames, height, width, 3)).copy()


def numbers(frames):
    """Returns the indices of frames `(t h w 3)`."""
    return np.rint(np.median(frames, axis=(1, 2, 3)) / _STEP).astype(int).tolist()


def write_video(path, *streams, fps=25, codec=None, pix_fmt=None, options=None, metadata=None):
    """Writes frames `(t h w 3)`, one array for each video stream, and returns the path."""
    default_codec, default_pix_fmt, default_options = _LOSSLESS.get(path.suffix, (None, None, {}))
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata or {})
        added = []
        for frames in streams:
            stream = container.add_stream(codec or default_codec, rate=fps, options=options or default_options)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = pix_fmt or default_pix_fmt
            added.append(stream)
        for stream, frames in zip(added, streams, strict=True):
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    return path
