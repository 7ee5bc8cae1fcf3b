"""Videos whose structure a seeded script has changed: boxes, chunks, sizes, keyframes, resolution and times."""

import contextlib
import itertools
import struct
from fractions import Fraction

import av
import numpy as np
from hostile_files import moving_blocks
from made_videos import write_video

# Ending, codec and pixel format of each container that is read (vjax/data/container.py), some with several codecs.
CONTAINERS = {
    "mp4_h264": (".mp4", "libx264", "yuv420p"),
    "mp4_mpeg4": (".mp4", "mpeg4", "yuv420p"),
    "mov_mjpeg": (".mov", "mjpeg", "yuvj420p"),
    "3gp_mpeg4": (".3gp", "mpeg4", "yuv420p"),
    "mkv_h264": (".mkv", "libx264", "yuv420p"),
    "mkv_ffv1": (".mkv", "ffv1", "bgr0"),
    "webm_vp9": (".webm", "libvpx-vp9", "yuv420p"),
    "avi_mpeg4": (".avi", "mpeg4", "yuv420p"),
    "avi_mjpeg": (".avi", "mjpeg", "yuvj420p"),
    "mpg": (".mpg", "mpeg2video", "yuv420p"),
    "ts_mpeg2": (".ts", "mpeg2video", "yuv420p"),
    "ts_h264": (".ts", "libx264", "yuv420p"),
    "flv": (".flv", "flv", "yuv420p"),
    "asf": (".asf", "wmv2", "yuv420p"),
    "nut": (".nut", "mpeg4", "yuv420p"),
    "mxf": (".mxf", "mpeg2video", "yuv420p"),
    "gif": (".gif", "gif", "rgb8"),
    "ivf": (".ivf", "libvpx", "yuv420p"),
    "h264": (".h264", "libx264", "yuv420p"),
    "y4m": (".y4m", "wrapped_avframe", "yuv420p"),
}
_EXTREME = (0, 1, 7, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_TAGS = (b"stsz", b"stco", b"stss", b"stts", b"ctts", b"stsc", b"tkhd", b"mdhd", b"stsd", b"elst", b"avcC", b"strf")
_TAGS += (b"strh", b"movi", b"idx1", b"avih", b"LIST", b"FLV\x01", b"onMetaData", b"DKIF", b"NETSCAPE")
_TAGS += (b"\x16\x54\xae\x6b", b"\x1f\x43\xb6\x75", b"\x1c\x53\xbb\x6b")  # Matroska's tracks, clusters and cues
_TIMES = {
    "backwards": lambda rng, time, index: 10_000 - time,
    "constant": lambda rng, time, index: 0,
    "huge": lambda rng, time, index: time + (1 << 40) * (index % 3 == 2),
    "negative": lambda rng, time, index: time - 1_000,
    "random": lambda rng, time, index: int(rng.integers(0, 100_000)),
}


def write_mutated(folder, *, count, seed=0):
    """Writes `count` mutated files into a folder, all containers and kinds in turn; returns healthy paths and these."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    healthy = {name: write_healthy(folder / f"{name}{CONTAINERS[name][0]}", name) for name in CONTAINERS}
    mutated = []
    kinds = list(KINDS)
    for number in range(count):
        name, kind = list(CONTAINERS)[number % len(CONTAINERS)], kinds[(number // len(CONTAINERS)) % len(kinds)]
        path = folder / f"{number:04d}_{kind}_{healthy[name].name}"
        KINDS[kind](rng, healthy[name], path)
        mutated.append(path)
    return list(healthy.values()), mutated


def write_healthy(path, name, *, num_frames=12, scale=1):
    """Writes a small video of a container."""
    _, codec, pix_fmt = CONTAINERS[name]
    frames = moving_blocks(np.random.default_rng(0), num_frames, height=48 * scale, width=64 * scale)
    options = (
        {"g": "4", "bf": "0"} if codec in ("libx264", "mpeg4", "mpeg2video", "libvpx", "libvpx-vp9", "flv") else {}
    )
    return write_video(path, frames, codec=codec, pix_fmt=pix_fmt, options=options)


def _boxes(rng, source, path):
    """Drops, repeats, swaps, renames or resizes boxes of an ISO file, and slices of others."""
    content = source.read_bytes()
    parts = _split_boxes(content) if source.suffix in (".mp4", ".mov", ".3gp") else _slices(rng, content)
    _shuffle(rng, parts)
    path.write_bytes(b"".join(parts))


def _chunks(rng, source, path):
    """Drops, repeats or swaps slices within the file."""
    parts = _slices(rng, source.read_bytes())
    _shuffle(rng, parts)
    path.write_bytes(b"".join(parts))


def _shuffle(rng, parts):
    place, other = rng.integers(len(parts), size=2)
    what = rng.integers(4)
    if what == 0:
        del parts[place]
    elif what == 1:
        parts.insert(other, parts[place])
    elif what == 2:
        parts[place], parts[other] = parts[other], parts[place]
    else:
        parts[place] = parts[place][: len(parts[place]) // 2]


def _sizes(rng, source, path):
    """Writes extreme numbers where a box, chunk or table says how large it is."""
    content = bytearray(source.read_bytes())
    places = [at for tag in _TAGS if (at := content.find(tag)) >= 0]
    for _ in range(rng.integers(1, 4)):
        at = int(rng.choice(places)) + int(rng.integers(-4, 24)) if places else int(rng.integers(len(content)))
        at = min(max(at, 0), len(content) - 4)
        content[at : at + 4] = struct.pack(rng.choice([">I", "<I"]), _EXTREME[rng.integers(len(_EXTREME))])
    path.write_bytes(content)


def _keyframes(rng, source, path):
    """Loses the first packets, or any, or says of packets what they are not."""
    first, lies = int(rng.integers(0, 4)), int(rng.integers(2))
    lost = set(rng.integers(0, 12, 2).tolist()) if rng.integers(2) else set()

    def change(index, packet):
        if lies:
            packet.is_keyframe = bool(rng.integers(2))
        return packet if index >= first and index not in lost else None

    _remux(source, path, change)


def _times(rng, source, path):
    """Gives packets time stamps that cannot be."""
    kind = _TIMES[str(rng.choice(list(_TIMES)))]

    def change(index, packet):
        packet.pts = kind(rng, packet.pts or 0, index)
        packet.dts = packet.pts if rng.integers(2) else packet.dts
        return packet

    _remux(source, path, change)


def _resolution(rng, source, path):
    """Goes on in mid-stream with packets of another size."""
    name = source.stem
    other = write_healthy(path.with_name(f".other_{path.name}"), name, scale=int(rng.integers(2, 4)))
    with av.open(str(other)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    start = int(rng.integers(1, 9))

    def change(index, packet):
        if index < start:
            return packet
        larger = av.Packet(packets[index - start])
        larger.pts, larger.dts, larger.time_base = packet.pts, packet.dts, packet.time_base
        return larger

    _remux(source, path, change)
    other.unlink()


def _remux(source, path, change):
    """Writes the packets of a file as `change` returns them; what a muxer refuses is not written any further."""
    refused = contextlib.suppress(av.error.FFmpegError, ValueError)
    with refused, av.open(str(source)) as container, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(container.streams.video[0])
        for index, packet in enumerate(container.demux(video=0)):
            changed = change(index, packet) if packet.size else None
            if changed is not None:
                changed.stream = stream
                changed.time_base = packet.time_base or Fraction(1, 25)
                target.mux(changed)


def _split_boxes(content):
    """Returns an ISO file cut before every box, those within `moov` down to the sample tables included."""
    parts, at, start = [], 0, 0
    while at + 8 <= len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        if at > start:
            parts.append(content[start:at])
            start = at
        at += 8 if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts") else max(size, 8)
    return [*parts, content[start:]]


def _slices(rng, content):
    cuts = sorted({0, len(content), *rng.integers(0, len(content), 6).tolist()})
    return [content[start:end] for start, end in itertools.pairwise(cuts)]


KINDS = {
    "boxes": _boxes,
    "chunks": _chunks,
    "sizes": _sizes,
    "keyframes": _keyframes,
    "times": _times,
    "resolution": _resolution,
}
