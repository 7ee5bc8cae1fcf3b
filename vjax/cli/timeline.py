"""`vjax predict --timeline`: the probabilities of long videos over time, and their segments."""

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from vjax.cli.stopwatch import Stopwatch
from vjax.cli.timeline_files import write_timeline
from vjax.data.annotate import annotate_video, check_annotated
from vjax.data.decode import VideoError
from vjax.errors import InputError
from vjax.evaluation.segments import Segment, SegmentFinder
from vjax.json_files import check_writable
from vjax.text import count, format_time, printable
from vjax.trained import Trained

_ENTER, _LEAVE, _MIN_S = 0.5, 0.7, 1.0
_OPTIONS = ("hop", "enter", "leave", "min_length", "annotate")


def add_timeline(parser: argparse.ArgumentParser) -> None:
    """Adds --timeline and the options of windows and segments."""
    parser.add_argument(
        "--timeline",
        metavar="DIR",
        help="predict over time: for each video a folder in DIR with its probabilities (probs.csv, probs.png) and its "
        "segments (segments.csv, segments.json, segments.srt)",
    )
    parser.add_argument(
        "--hop",
        type=int,
        metavar="N",
        help="frames of a clip from one window of --timeline to the next (default: half of the clip)",
    )
    parser.add_argument(
        "--enter",
        type=float,
        metavar="P",
        help=f"probability at which a segment begins (default: {_ENTER}, or the threshold of --unknown)",
    )
    parser.add_argument(
        "--leave",
        type=float,
        metavar="P",
        help=f"probability below which a segment ends (default: {_LEAVE} times that of --enter)",
    )
    parser.add_argument(
        "--min-length",
        type=float,
        metavar="S",
        help=f"seconds below which a segment is left out (default: {_MIN_S:g})",
    )
    parser.add_argument(
        "--annotate",
        metavar="FILE.mp4",
        help="with --timeline of one video: also write it with the classes of its segments in the frames, and with its "
        "sound",
    )


def check_options(args: argparse.Namespace, paths: Sequence[str]) -> None:
    """Raises an InputError if options do not fit each other, or the annotated video cannot be written."""
    if not args.timeline:
        given = [name for name in _OPTIONS if getattr(args, name) is not None]
        if given:
            raise InputError(f"--{given[0].replace('_', '-')} belongs to --timeline DIR; give that too")
        return
    if args.json or args.clips or args.out:
        raise InputError("--timeline writes files of its own; leave out --json, --clips and --out")
    if args.annotate:
        if len(paths) != 1:
            raise InputError(f"--annotate writes one video, and {len(paths)} were given; give one")
        check_annotated(paths[0], args.annotate)


def make_finder(args: argparse.Namespace, *, threshold: float | None) -> SegmentFinder:
    """Returns a new finder of segments, with the limits of the options.

    Raises:
      InputError: the limits are out of range.
    """
    enter = args.enter if args.enter is not None else _ENTER if threshold is None else threshold
    leave = args.leave if args.leave is not None else _LEAVE * enter
    return SegmentFinder(enter=enter, leave=leave, min_s=args.min_length if args.min_length is not None else _MIN_S)


def run_timelines(
    args: argparse.Namespace, paths: Sequence[str], trained: Trained, watch: Stopwatch, *, threshold: float | None
) -> list[VideoError]:
    """Writes and prints the timelines of videos; returns the errors of those without one.

    Raises:
      InputError: an option does not fit, or a file cannot be written.
      VideoError: the video changes while it is annotated.
    """
    make_finder(args, threshold=threshold)
    errors, names = [], trained.class_names
    folders = _folders(args.timeline, paths)
    for folder in folders:
        check_writable(folder / "probs.csv")
    for path, folder in zip(paths, folders, strict=True):
        with _Position(path) as position:
            try:
                timeline = trained.timeline(path, hop=args.hop, watch=watch.timed, advance=position.show)
            except VideoError as error:
                errors.append(error)
                continue
        watch.num_clips += len(timeline.probs)
        segments = timeline.segments(make_finder(args, threshold=threshold))
        write_timeline(folder, timeline, segments, names)
        found = f"{count(len(timeline.probs), 'window')}, {count(len(segments), 'segment')}"
        print(f"{printable(path)}: {found}, in {printable(str(folder))}")
        for segment in segments:
            print(f"  {describe_segment(segment, names)}")
        if timeline.error:
            errors.append(VideoError(timeline.error))
        elif args.annotate:
            said = annotate_video(path, args.annotate, functools.partial(text_at, segments, names))
            print(f"{args.annotate}{f': the sound ends early: {said}' if said else ''}")
    return errors


def _folders(root: str, paths: Sequence[str]) -> list[Path]:
    """Returns a folder for each video, with its name; of several videos with one name, the later ones get a number."""
    folders: list[Path] = []
    for path in paths:
        wanted = Path(root) / Path(path).stem
        folder, number = wanted, 2
        while folder in folders:
            folder, number = wanted.with_name(f"{wanted.name}_{number}"), number + 1
        folders.append(folder)
    return folders


class _Position:
    """Shows on a terminal how much of a video is done; its length is not known before its end."""

    def __init__(self, path: str):
        self._name = printable(Path(path).name)
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> "_Position":
        return self

    def show(self, seconds: float) -> None:
        """Shows that the first seconds of the video are done."""
        if self._shown:
            print(f"\r{self._name}: {format_time(seconds)} of the video", end="", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def text_at(segments: Sequence[Segment], class_names: Sequence[str], seconds: float) -> str:
    """Returns the class and score of the segment at a time; empty if there is none."""
    for segment in segments:
        if segment.start_s <= seconds < segment.end_s:
            return f"{class_names[segment.label]} {segment.score:.2f}"
    return ""


def describe_segment(segment: Segment, class_names: Sequence[str]) -> str:
    """Returns a segment in one line, such as "0:03 to 0:12  walk 0.93"."""
    times = f"{format_time(segment.start_s)} to {format_time(segment.end_s)}"
    return f"{times}  {printable(class_names[segment.label])} {segment.score:.2f}"
