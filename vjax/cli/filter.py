"""`vjax filter`: shows the motion in a video."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from vjax.data import decode, encode
from vjax.ops import filters


def add(commands: Any) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser("filter", help="show the motion in a video")
    parser.add_argument("video", metavar="VIDEO", help="a video file")
    parser.add_argument("--op", required=True, choices=sorted(_FILTERS), help="what is shown of the motion")
    parser.add_argument("--at", type=int, help="row (xt) or column (yt); the middle one if not given")
    parser.add_argument("--window", type=int, default=9, help="frames of the running median, odd (default: 9)")
    parser.add_argument("--out", required=True, help="a PNG, GIF or MP4 file")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, _: Sequence[str]) -> None:
    """Runs the command."""
    frames = decode.read_video(args.video)
    fps = decode.probe(args.video).fps
    encode.write_frames(args.out, _FILTERS[args.op](frames, args), fps=fps)


def _foreground(frames: Any, _: argparse.Namespace) -> Any:
    """What moves, in its own colours on black; specks under 2 pixels are taken for noise."""
    return frames * filters.foreground_mask(frames, opening=2)[..., None]


def _slice(cut: Callable[..., Any], what: str, axis: int) -> Callable[[Any, argparse.Namespace], Any]:
    def apply(frames: Any, args: argparse.Namespace) -> Any:
        at = frames.shape[axis] // 2 if args.at is None else args.at
        return cut(frames, **{what: at})[None]

    return apply


_FILTERS: dict[str, Callable[[Any, argparse.Namespace], Any]] = {
    "median": lambda frames, args: filters.median_filter(frames, window=args.window),
    "background": lambda frames, _: filters.median_background(frames)[None],
    "foreground": _foreground,
    "xt": _slice(filters.xt_slice, "row", -3),
    "yt": _slice(filters.yt_slice, "column", -2),
}
