"""The test clips of a video file, as the network was tested on them."""

import av
import numpy as np
from av.stream import Disposition


def areas(size, new):
    """Returns the share (new size) of each pixel in each new one."""
    edges, pixels = np.arange(new + 1)[:, None] * size / new, np.arange(size)
    return np.clip(np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels), 0, None) * new / size


def neighbours(size, new):
    """Returns the two pixels beside each new one, and their weights in 1/2048."""
    place = np.clip(((np.arange(new) + 0.5) * (size / new) - 0.5).astype(np.float32), 0, size - 1)
    left = np.minimum(place.astype(int), max(size - 2, 0))
    weight = np.rint(2048 * (place - left)).astype(int)
    return left, np.minimum(left + 1, size - 1), 2048 - weight, weight


def resize(frame, height, width):
    """Returns a uint8 frame in another size: averages of areas if it shrinks to half or less, else bilinear."""
    rows, columns = frame.shape[:2]
    if 2 * height <= rows or 2 * width <= columns:
        mean = np.einsum("yi,ijc,xj->yxc", areas(rows, height), frame, areas(columns, width), optimize=True)
        return np.rint(mean).astype(np.uint8)
    (top, bottom, a, b), (left, right, c, d) = neighbours(rows, height), neighbours(columns, width)
    across = (frame[:, left] * c[:, None] + frame[:, right] * d[:, None]) >> 4
    mixed = (a[:, None, None] * across[top] >> 16) + (b[:, None, None] * across[bottom] >> 16)
    return ((mixed + 2) >> 2).astype(np.uint8)


def crop(frame, size, place, share):
    """Returns the largest crop of a frame, or a share of its sides, at a place from 0 to 1 along its longer side."""
    (rows, columns), (height, width) = frame.shape[:2], size
    high, wide = min(rows, columns * height / width), min(columns, rows * width / height)
    y, x = (0.5, place) if columns - wide >= rows - high else (place, 0.5)
    top, left = y * (rows - share * high), x * (columns - share * wide)
    return resize(frame[round(top) : round(top + share * high), round(left) : round(left + share * wide)], *size)


def decode(path):
    """Yields the frames of a video file, and its frames per second."""
    with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        stream = max(streams, key=lambda s: s.width * s.height)
        for frame in container.decode(stream):
            yield frame, float(stream.average_rate or stream.guessed_rate or stream.base_rate or 25)


def read_clips(path, *, timing, size, num_clips, num_crops, crop_share, **_):
    """Returns the test clips (n t h w 3) of a video file."""
    fps, length = [fps for _, fps in decode(path)], timing["num_frames"]
    step = timing["stride"] or fps[0] / (timing["fps"] or length / timing["duration_s"])
    offsets = np.floor(np.arange(length) * step + 1e-6).astype(int)
    latest = max(0, len(fps) - 1 - offsets[-1])
    starts = np.floor(np.linspace(0, latest, num_clips) if num_clips > 1 else [latest / 2]).astype(int)
    wanted, crops = (starts[:, None] + offsets) % len(fps), {}
    for index, (frame, _) in enumerate(decode(path)):
        if index in wanted:
            picture = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
            crops[index] = [crop(picture, size, place, crop_share) for place in ((0.5,), (0, 0.5, 1))[num_crops // 3]]
    clips = np.stack([[crops[index] for index in clip] for clip in wanted])
    return clips.swapaxes(1, 2).reshape(-1, length, *size, 3)
