"""Small video files, made by code, for tests that need a folder of them."""

import av
import numpy as np

LABELS = ("fall", "rise")
GROUPS = ("ann", "bob", "cem", "dan")


def write_folder(root, *, pattern="{group}.mp4", labels=LABELS, groups=GROUPS, num_frames=12):
    """Writes `root/label/...`: a bright bar that rises or falls, one video for each label and group.

    Every video is of another place: it has a background of its own.
    """
    for place, label in enumerate(labels):
        (root / label).mkdir(parents=True)
        for number, group in enumerate(groups):
            name = pattern.format(label=label, group=group)
            frames = _bar(up=label == labels[-1], phase=number, num_frames=num_frames)
            _write(root / label / name, np.maximum(frames, _background(len(groups) * place + number)))
    return root


def _background(seed, *, size=24):
    """Returns a frame of four columns of random dark gray levels."""
    levels = np.random.default_rng(seed).integers(0, 90, (3, 4)).astype(np.uint8)
    return np.kron(levels, np.ones((size // 3, (size + 8) // 4), np.uint8))[..., None]


def _write(path, frames):
    codec = {".mp4": "libx264", ".avi": "mpeg4", ".webm": "libvpx"}[path.suffix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, bit_rate=1_000_000)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _bar(*, up, phase, num_frames, size=24):
    frames = np.full((num_frames, size, size + 8, 3), 40, np.uint8)
    for index in range(num_frames):
        row = (phase * 5 + 2 * index * (-1 if up else 1)) % size
        frames[index, row : row + 4] = 220
    return frames
