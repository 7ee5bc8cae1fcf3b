"""`vjax filter`: shows the motion in a video."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from vjax.data import decode, encode
from vjax.ops import filters


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "filter", help="show the motion in a video", description="Shows the motion in a video with a temporal filter."
    )
    parser.add_argument("video", metavar="VIDEO", help="video file to read")
    parser.add_argument(
        "--op",
        required=True,
        choices=sorted(_FILTERS),
        help="background: median over all frames; foreground: what differs from the background; median: running median "
        "over time; xt: one row of every frame; yt: one column of every frame",
    )
    parser.add_argument("--at", type=int, metavar="N", help="row of xt, or column of yt (default: the middle one)")
    parser.add_argument(
        "--window", type=int, default=9, metavar="N", help="window of the median in frames, an odd number (default: 9)"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="PNG, GIF or MP4 file to write")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, _: Sequence[str]) -> None:
    """Filters the frames of the video and writes the result."""
    frames = decode.read_video(args.video)
    fps = decode.probe(args.video).fps
    encode.write_frames(args.out, _FILTERS[args.op](frames, args), fps=fps)


def _foreground(frames: Any, _: argparse.Namespace) -> Any:
    """Returns the foreground in colour on black; foreground narrower than 2 pixels is removed as noise."""
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
