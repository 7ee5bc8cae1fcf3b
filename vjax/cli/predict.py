"""`vjax predict`: predicts the classes of videos."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from vjax.cli.arguments import add_trained
from vjax.cli.videos import add_videos, find_videos, open_videos, print_errors
from vjax.evaluation.predict import Prediction, rank
from vjax.json_files import write_csv
from vjax.text import printable
from vjax.trained import load

_TOP = 5  # number of classes shown per video
_SHOWN_FROM = 0.01  # less probable classes are not printed


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "predict",
        help="predict the classes of videos",
        description="Predicts the classes of videos with a trained network; prints a line for each video with its most "
        "probable classes.",
    )
    add_trained(parser)
    add_videos(parser)
    parser.add_argument("--clips", action="store_true", help="also print the most probable classes of every clip")
    parser.add_argument("--json", action="store_true", help="print JSON with all classes, also for every clip")
    parser.add_argument(
        "--csv",
        metavar="FILE",
        help=f"also write a table with the columns video, class and probability; up to {_TOP} rows per video",
    )
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, _: Sequence[str]) -> int:
    """Prints the predictions, writes them to a file if asked for, and prints the videos that cannot be read."""
    paths = find_videos(args.videos)
    trained = load(args.workdir, checkpoint=args.checkpoint)
    videos, errors = open_videos(paths)
    predictions = trained.predict(videos)
    if args.json:
        print(json.dumps([_prediction_json(found, trained.class_names) for found in predictions], indent=2))
    else:
        for line in describe(predictions, trained.class_names, clips=args.clips):
            print(line)
    print_errors(errors)
    if args.csv:
        _write_csv(args.csv, predictions, trained.class_names)
    return 2 if errors else 0


def describe(predictions: Sequence[Prediction], class_names: Sequence[str], *, clips: bool) -> list[str]:
    """Returns a line for each video, such as "new.mp4  walk 0.93, run 0.05", and one for each clip if asked for."""
    names = [printable(found.name) for found in predictions]
    width = max(map(len, names), default=0)
    lines = []
    for name, found in zip(names, predictions, strict=True):
        lines.append(f"{name:<{width}}  {_classes(found.ranked(class_names))}")
        for clip in found.clips if clips else ():
            lines.append(f"  {clip.start_s:6.1f} s to {clip.end_s:6.1f} s  {_classes(rank(clip.probs, class_names))}")
    return lines


def _classes(ranked: Sequence[tuple[str, float]]) -> str:
    """Returns the most probable classes as text; the first is always shown."""
    shown = [ranked[0], *(pair for pair in ranked[1:_TOP] if pair[1] >= _SHOWN_FROM)]
    return ", ".join(f"{name} {probability:.2f}" for name, probability in shown)


def _write_csv(path: str, predictions: Sequence[Prediction], class_names: Sequence[str]) -> None:
    rows = [
        (found.name, name, f"{probability:.6f}")
        for found in predictions
        for name, probability in found.ranked(class_names)[:_TOP]
    ]
    write_csv(path, [("video", "class", "probability"), *rows])


def _prediction_json(prediction: Prediction, class_names: Sequence[str]) -> dict[str, Any]:
    return {
        "name": prediction.name,
        "ranked": [{"class": name, "probability": p} for name, p in prediction.ranked(class_names)],
        "clips": [
            {
                "start_s": clip.start_s,
                "end_s": clip.end_s,
                "ranked": [{"class": name, "probability": p} for name, p in rank(clip.probs, class_names)],
            }
            for clip in prediction.clips
        ],
    }
