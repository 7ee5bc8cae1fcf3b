"""Kinetics: ten-second YouTube clips of 400, 600 or 700 classes; many are no longer available.

Source: Kay et al. 2017, "The Kinetics human action video dataset". The train split is `train.csv`, and the
test split is the validation set: `val.csv`, `validate.csv` or `validation.csv`.
"""

import csv
from pathlib import Path

from vjax.data.archives import find_one, unpack
from vjax.data.listing import Listing, VideoFile, check_annotations, check_root
from vjax.data.video import BadVideo
from vjax.errors import InputError

_ENDINGS = {".mp4", ".mkv", ".webm", ".avi", ".mov"}


def list_videos(*, root: str, annotations: str = "") -> Listing:
    """Returns the annotated videos: those that exist, and the missing ones.

    Args:
      root: a folder with `ID_SSSSSS_EEEEEE.mp4` (start and end in seconds) or `ID.mp4`, at any depth.
      annotations: a folder with `train.csv` and `val.csv` (columns `label,youtube_id,time_start,time_end`), at any
        depth; `root` if not given.
    """
    place = unpack(check_root(root))
    lists = check_annotations(annotations) if annotations else place
    paths = {path.stem: path for path in sorted(place.rglob("*")) if path.suffix.lower() in _ENDINGS}
    files, missing = [], []
    for split, names in (("train", ("train.csv",)), ("test", ("val.csv", "validate.csv", "validation.csv"))):
        for row in _rows(find_one(lists, *names)):
            clip = row["youtube_id"]
            if row.get("time_start"):
                clip = f"{clip}_{int(float(row['time_start'])):06d}_{int(float(row['time_end'])):06d}"
            path = paths.get(clip) or paths.get(row["youtube_id"])
            name = f"{row['label']}/{clip}"
            if path is None:
                missing.append(BadVideo(name, split, f"{name}: missing, no file {clip}.mp4 under {root}"))
            else:
                files.append(VideoFile(path, name, row["label"], split, row["youtube_id"]))
    if not files:
        raise InputError(f"{root}: holds none of the {len(missing)} videos that the annotations name")
    return Listing(tuple(files), tuple(missing), given="given by Kinetics' train and validation lists")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or not {"label", "youtube_id"} <= rows[0].keys():
        raise InputError(f"{path}: Kinetics' annotations must have the columns label,youtube_id,time_start,time_end")
    return rows
