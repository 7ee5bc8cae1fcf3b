"""`vjax predict`: predicts the classes of videos."""

import argparse
import glob
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vjax.cli.arguments import add_trained
from vjax.data import decode
from vjax.data.listing import is_left_out
from vjax.data.video import open_video
from vjax.errors import InputError
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
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO",
        help="video file, folder of video files, or quoted pattern such as 'videos/*.mp4'; one or more",
    )
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
    videos, errors = [], []
    for path in paths:
        try:
            videos.append(open_video(path))
        except decode.VideoError as error:
            errors.append(error)
    predictions = trained.predict(videos)
    if args.json:
        print(json.dumps([_prediction_json(found, trained.class_names) for found in predictions], indent=2))
    else:
        for line in describe(predictions, trained.class_names, clips=args.clips):
            print(line)
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if args.csv:
        _write_csv(args.csv, predictions, trained.class_names)
    return 2 if errors else 0


def find_videos(places: Sequence[str]) -> list[str]:
    """Returns the files that the arguments stand for, each once, in the order of the arguments.

    Args:
      places: video files, folders of video files, or patterns; what does not exist and is no pattern is returned too,
        and is found unreadable later.

    Raises:
      InputError: a folder holds no file, or no file matches a pattern.
    """
    files: dict[str, None] = {}
    for place in places:
        path = os.path.expanduser(place)
        found = [path]
        if os.path.isdir(path):
            found = [str(file) for file in _files_in(Path(path))]
        elif not os.path.lexists(path) and glob.escape(path) != path:
            found = sorted(file for file in glob.glob(path, recursive=True) if not os.path.isdir(file))
        if not found:
            what = "the folder holds no files" if os.path.isdir(path) else "no file matches this pattern"
            raise InputError(
                f"{place}: {what}; give video files, folders of video files, or quoted patterns such as 'videos/*.mp4'"
            )
        files |= dict.fromkeys(found)
    return list(files)


def _files_in(folder: Path) -> list[Path]:
    """Returns the files of a folder and of the folders in it, sorted; left out are those that a source leaves out."""
    inside = (file.relative_to(folder) for file in folder.rglob("*") if not file.is_dir())
    return sorted(folder / file for file in inside if not is_left_out(file))


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
