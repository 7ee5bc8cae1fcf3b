"""Files that break naive readers: a seeded script makes them out of a few healthy ones."""

from fractions import Fraction

import av
import numpy as np
from made_videos import write_video

KINDS = ("flip", "truncate", "zero_header", "zero_middle", "wrong_ending")


def write_hostile(folder, *, count, seed=0):
    """Writes `count` files into a folder, healthy ones and strange ones first, and returns their paths."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    healthy = _healthy(folder, rng)
    strange = [
        _write(folder / "empty.mp4", b""),
        _write(folder / "text.mp4", b"this is no video\n" * 50),
        _write(folder / "text.txt", b"a line\n"),
        _write(folder / "noise.avi", rng.bytes(5000)),
        write_video(folder / "one_frame.mp4", moving_blocks(rng, 1)),
        write_video(
            folder / "wide.avi", moving_blocks(rng, 3, height=16, width=8000), codec="mpeg4", pix_fmt="yuv420p"
        ),
        _sound_only(folder / "sound.mp4"),
        _uneven(folder / "uneven.mkv", moving_blocks(rng, 12)),
    ]
    paths = [*healthy, *strange]
    while len(paths) < count:
        base = healthy[rng.integers(len(healthy))]
        kind = KINDS[len(paths) % len(KINDS)]
        ending = [".mp4", ".avi", ".mkv"][rng.integers(3)] if kind == "wrong_ending" else base.suffix
        content = _mutate(rng, base.read_bytes(), kind)
        paths.append(_write(folder / f"{len(paths):04d}_{kind}_{base.stem}{ending}", content))
    return paths


def _healthy(folder, rng):
    h264 = {"codec": "libx264", "pix_fmt": "yuv420p", "options": {"g": "6", "crf": "20"}}
    mpeg4 = {"codec": "mpeg4", "pix_fmt": "yuv420p", "options": {"g": "6"}}
    return [
        write_video(folder / "h264.mp4", moving_blocks(rng, 18), **h264),
        write_video(folder / "h264.mkv", moving_blocks(rng, 18), **h264),
        write_video(folder / "mpeg4.avi", moving_blocks(rng, 18), **mpeg4),
        write_video(
            folder / "vp9.mkv", moving_blocks(rng, 12), codec="libvpx-vp9", pix_fmt="yuv420p", options={"g": "4"}
        ),
    ]


def moving_blocks(rng, num_frames, *, height=48, width=64):
    """Blocks of noise that move: enough bytes in every frame for a flipped bit to hit something."""
    blocks = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    return np.stack([np.roll(blocks, 3 * index, axis=1) for index in range(num_frames)])


def _mutate(rng, content, kind):
    content = bytearray(content)
    size = len(content)
    if kind == "flip":
        for _ in range(rng.integers(1, 9)):
            content[rng.integers(size)] ^= 1 << rng.integers(8)
    elif kind == "truncate":
        del content[rng.integers(1, size) :]
    elif kind == "zero_header":
        length = int(rng.integers(4, 200))
        content[:length] = bytes(length)
    elif kind == "zero_middle":
        start = int(rng.integers(size - 64))
        content[start : start + 64] = bytes(64)
    return bytes(content)


def _sound_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    return path


def _uneven(path, frames):
    """Writes frames whose time stamps lie further and further apart."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "4"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = 20 * index * index + 33 * index, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def _write(path, content):
    path.write_bytes(content)
    return path
