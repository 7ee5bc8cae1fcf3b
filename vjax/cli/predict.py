"""`vjax predict`: predicts the classes of videos."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from vjax.cli.arguments import add_trained
from vjax.data import decode
from vjax.data.video import open_video
from vjax.evaluation.predict import Prediction, rank
from vjax.trained import load

_TOP = 5  # number of classes shown per video


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "predict",
        help="predict the classes of videos",
        description="Predicts the classes of videos with a trained network: the most probable classes of each video, "
        "and the most probable class of each clip.",
    )
    add_trained(parser)
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="one or more video files")
    parser.add_argument("--json", action="store_true", help="print JSON with all classes, also for every clip")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, _: Sequence[str]) -> int:
    """Prints the predictions, then the videos that cannot be read."""
    videos, errors = [], []
    for path in args.videos:
        try:
            videos.append(open_video(path))
        except decode.VideoError as error:
            errors.append(error)
    trained = load(args.workdir, checkpoint=args.checkpoint)
    predictions = trained.predict(videos)
    if args.json:
        print(json.dumps([_prediction_json(found, trained.class_names) for found in predictions], indent=2))
    else:
        print("\n\n".join(_prediction_text(found, trained.class_names) for found in predictions))
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    return 2 if errors else 0


def _prediction_text(prediction: Prediction, class_names: Sequence[str]) -> str:
    ranked = prediction.ranked(class_names)[:_TOP]
    lines = [prediction.name, *(f"  {probability:6.1%}  {name}" for name, probability in ranked), "  by clip:"]
    for clip in prediction.clips:
        name, probability = rank(clip.probs, class_names)[0]
        lines.append(f"  {clip.start_s:6.1f} s to {clip.end_s:5.1f} s  {probability:6.1%}  {name}")
    return "\n".join(lines)


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
