"""Video files that a command takes as its arguments."""

import argparse
import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from vjax.data import decode
from vjax.data.listing import is_left_out
from vjax.data.video import Video, open_video
from vjax.errors import InputError


def add_videos(parser: argparse.ArgumentParser) -> None:
    """Adds VIDEO..."""
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO",
        help="video file, folder of video files, or quoted pattern such as 'videos/*.mp4'; one or more",
    )


def open_videos(paths: Sequence[str]) -> tuple[list[Video], list[decode.VideoError]]:
    """Returns the videos that can be read, and an error for each of the others."""
    videos, errors = [], []
    for path in paths:
        try:
            videos.append(open_video(path))
        except decode.VideoError as error:
            errors.append(error)
    return videos, errors


def print_errors(errors: Sequence[decode.VideoError]) -> None:
    """Prints a line for each video that cannot be read."""
    for error in errors:
        print(f"error: {error}", file=sys.stderr)


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
