"""`vjax filter`: shows the motion in a video."""

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from vjax.data import decode, encode
from vjax.errors import InputError
from vjax.ops import filters

_BACKGROUND_BYTES = 512 * 2**20  # memory for the frames of a background's median; reading them takes it twice


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "filter", help="show the motion in a video", description="Shows the motion in a video with a temporal filter."
    )
    parser.add_argument("video", metavar="VIDEO", help="video file to read")
    parser.add_argument(
        "--op",
        required=True,
        choices=sorted(_PICTURES | _VIDEOS),
        help="background: median over time; foreground: what differs from the background; median: running median over "
        "time; xt: one row of every frame; yt: one column of every frame",
    )
    parser.add_argument("--at", type=int, metavar="N", help="row of xt, or column of yt (default: the middle one)")
    parser.add_argument(
        "--window", type=int, default=9, metavar="N", help="window of the median in frames, an odd number (default: 9)"
    )
    parser.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help="number of frames, evenly spaced in time, for the median of background and foreground; they are held in "
        "memory (default: all frames, but no more than fit in 512 MiB)",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="PNG, GIF or MP4 file to write")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, _: Sequence[str]) -> None:
    """Filters the frames of the video and writes the result."""
    encode.check_output(args.out)
    info = decode.probe(args.video)
    if os.path.exists(args.out) and os.path.samefile(args.video, args.out):
        raise InputError(f"{args.out} is the video itself; --out must be another file")
    if args.op in _PICTURES:
        encode.write_frames(args.out, _PICTURES[args.op](args, info)[None], fps=info.fps)
    else:
        encode.write_frames(args.out, _VIDEOS[args.op](args, info), fps=info.fps, num_frames=info.num_frames)
    width, height = encode.written_size(args.out)
    is_picture = args.op in _PICTURES or args.out.lower().endswith(".png")
    shape = f"{width:,} x {height:,}" if is_picture else f"{info.num_frames:,} frames of {width:,} x {height:,}"
    print(f"{args.out}: {shape} pixels, {os.path.getsize(args.out) / 1e3:,.1f} kB")


def _xt(args: argparse.Namespace, info: decode.VideoInfo) -> np.ndarray:
    row = info.height // 2 if args.at is None else args.at
    return filters.streamed_xt_slice(decode.iterate_video(args.video), row=row)


def _yt(args: argparse.Namespace, info: decode.VideoInfo) -> np.ndarray:
    column = info.width // 2 if args.at is None else args.at
    return filters.streamed_yt_slice(decode.iterate_video(args.video), column=column)


def _background(args: argparse.Namespace, info: decode.VideoInfo) -> np.ndarray:
    """Returns the median over frames that are evenly spaced in time; says so if they are not all frames."""
    if args.frames is not None and args.frames < 1:
        raise InputError(f"--frames must be 1 or more, got {args.frames}")
    fitting = max(1, _BACKGROUND_BYTES // (3 * info.height * info.width))
    num_frames = min(args.frames or fitting, info.num_frames)
    if num_frames < info.num_frames:
        print(
            f"The background is the median of {num_frames:,} of {info.num_frames:,} frames, evenly spaced in time; "
            "--frames sets their number."
        )
    indices = np.linspace(0, info.num_frames - 1, num_frames).round().astype(int)
    return filters.median_background(decode.read_frames(args.video, indices, seeks=info.seeks))


def _foreground(args: argparse.Namespace, info: decode.VideoInfo) -> Iterator[np.ndarray]:
    """Returns the foreground in colour on black; foreground narrower than 2 pixels is removed as noise."""
    background = _background(args, info)

    def cut(frame: np.ndarray) -> np.ndarray:
        return frame * filters.foreground_mask(frame[None], background=background, opening=2)[0, ..., None]

    return map(cut, decode.iterate_video(args.video))


def _median(args: argparse.Namespace, _: decode.VideoInfo) -> Iterator[np.ndarray]:
    return filters.streamed_median_filter(decode.iterate_video(args.video), window=args.window)


_PICTURES: dict[str, Callable[..., np.ndarray]] = {"background": _background, "xt": _xt, "yt": _yt}
_VIDEOS: dict[str, Callable[..., Iterator[np.ndarray]]] = {"foreground": _foreground, "median": _median}
