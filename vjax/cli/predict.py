"""`vjax predict`: predicts the classes of videos."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from vjax.cli.arguments import add_trained
from vjax.cli.prediction_files import TOP, UNKNOWN, PredictionFile, check_out, is_unknown, prediction_json
from vjax.cli.stopwatch import Stopwatch
from vjax.cli.stream import add_streams, check_stream, run_stream
from vjax.cli.timeline import add_timeline, check_options, run_timelines
from vjax.cli.videos import add_videos, find_videos, open_videos, print_errors
from vjax.data.decode import VideoError
from vjax.data.video import Video
from vjax.evaluation.predict import Prediction, rank
from vjax.text import Progress, printable, terminal_width, wrap
from vjax.trained import Trained, load

_PRECISION = 0.95
_SHOWN_FROM = 0.01  # less probable classes are not printed
_AT_ONCE = 64  # videos that are open at a time
_QUIET_S = 10.0  # shorter jobs show no progress


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "predict",
        help="predict the classes of videos",
        description="Predicts the classes of videos with a trained network; prints a line for each video with its most "
        "probable classes. With --timeline, it predicts them over time, and finds the segments of long videos. Of a "
        "stream, which is - for standard input, a pipe, a video device such as /dev/video0, or an address, it prints a "
        "line as each segment ends.",
    )
    add_trained(parser)
    add_videos(parser)
    parser.add_argument("--clips", action="store_true", help="also print the most probable classes of every clip")
    parser.add_argument("--json", action="store_true", help="print JSON with all classes, also for every clip")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="also write the predictions to a .csv file, with the columns video, class and probability and up to "
        f"{TOP} classes per video; or to a .jsonl file, with a line of JSON per video; it grows as videos are done",
    )
    parser.add_argument(
        "--unknown",
        action="store_true",
        help=f'answer "{UNKNOWN}" for a video whose most probable class does not reach a threshold, which rests on '
        "the validation videos of the run",
    )
    parser.add_argument(
        "--precision",
        type=float,
        metavar="P",
        help="precision of --unknown, which it turns on: the threshold is the lowest one with this share of right "
        f"answers on the validation videos and one more, which is wrong (default: {_PRECISION})",
    )
    add_timeline(parser)
    add_streams(parser)
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, _: Sequence[str]) -> int:
    """Predicts the videos, their timelines or a stream; prints the videos that cannot be read and the speed."""
    stream = check_stream(args)
    paths = [] if stream else find_videos(args.videos)
    if not stream:
        check_options(args, paths)
    if args.out:
        check_out(args.out)
    trained = load(args.workdir, checkpoint=args.checkpoint)
    threshold = None
    if args.unknown or args.precision is not None:
        threshold = trained.threshold(_PRECISION if args.precision is None else args.precision)
    watch = Stopwatch()
    if stream:
        errors = run_stream(args, stream, trained, watch, threshold=threshold)
    elif args.timeline:
        errors = run_timelines(args, paths, trained, watch, threshold=threshold)
    else:
        errors = _predict(args, paths, trained, watch, threshold=threshold)
    if watch.num_clips and not stream:
        said = watch.describe(num_videos=len(paths) - len(errors))
        print(wrap(said, width=terminal_width(), hang=2), file=sys.stderr)
    print_errors(errors)
    return 2 if errors else 0


def _predict(
    args: argparse.Namespace, paths: Sequence[str], trained: Trained, watch: Stopwatch, *, threshold: float | None
) -> list[VideoError]:
    """Predicts some videos at a time, prints and writes them; returns the errors of the others."""
    errors: list[VideoError] = []
    shown = 0  # predictions so far
    with (
        PredictionFile(args.out, threshold) as output,
        Progress(sys.stderr, unit="video", quiet_s=_QUIET_S) as progress,
    ):
        for start in range(0, len(paths), _AT_ONCE):
            videos, unreadable = open_videos(paths[start : start + _AT_ONCE])
            errors += unreadable
            width = max((len(printable(video.name)) for video in videos), default=0)
            for found in _good_ones(videos, trained, watch, errors):
                output.write(found)
                if args.json:
                    entry = json.dumps(prediction_json(found, threshold=threshold), indent=2)
                    print(f"{',' if shown else '['}\n{entry}")
                else:
                    print("\n".join(describe(found, clips=args.clips, threshold=threshold, width=width)))
                shown += 1
            progress.advance(min(start + _AT_ONCE, len(paths)), len(paths))
        if args.json:
            print("]" if shown else "[]")
    watch.num_clips = shown * trained.test_view.shape[0]
    return errors


def _good_ones(
    videos: Sequence[Video], trained: Trained, watch: Stopwatch, errors: list[VideoError]
) -> Iterator[Prediction]:
    """Yields the predictions of videos; one that can no longer be read is left out, and its error is kept."""
    done = 0
    try:
        for found in trained.predict_each(videos, watch=watch.timed):
            done += 1
            yield found
        return
    except VideoError:
        pass  # a file has changed since it was opened; its batch is predicted again, one video at a time
    for video in videos[done:]:
        try:
            yield from trained.predict_each([video], watch=watch.timed)
        except VideoError as error:
            errors.append(error)


def describe(
    found: Prediction,
    *,
    clips: bool,
    threshold: float | None = None,
    width: int = 0,
) -> list[str]:
    """Returns a line for a video, such as "new.mp4  walk 0.93, run 0.05", and one for each clip if asked for.

    If there is a threshold that no class reaches, the line is "new.mp4  none of these (walk 0.41, run 0.40)". The name
    takes `width` columns or more.
    """
    classes = _classes(found.ranked())
    unknown = is_unknown(found, threshold)
    lines = [f"{printable(found.name):<{width}}  " + (f"{UNKNOWN} ({classes})" if unknown else classes)]
    for clip in found.clips if clips else ():
        lines.append(f"  {clip.start_s:6.1f} s to {clip.end_s:6.1f} s  {_classes(rank(clip.probs, found.class_names))}")
    return lines


def _classes(ranked: Sequence[tuple[str, float]]) -> str:
    """Returns the most probable classes as text; the first is always shown."""
    shown = [ranked[0], *(pair for pair in ranked[1:TOP] if pair[1] >= _SHOWN_FROM)]
    return ", ".join(f"{name} {probability:.2f}" for name, probability in shown)
