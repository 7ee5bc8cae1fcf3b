"""UCF101: 13,320 clips of 101 actions, with three official splits.

Source: Soomro et al. 2012, "UCF101: a dataset of 101 human action classes from videos in the wild". Clips of one
group (`v_X_gNN_cMM`) are cut from one recording; the official splits keep groups together.
"""

import os
import re
from pathlib import Path

from vjax.data.archives import find_one, unpack
from vjax.data.listing import Listing, VideoFile, check_root
from vjax.errors import InputError


def list_videos(*, root: str, split: int = 1) -> Listing:
    """Returns the videos of an official split.

    Args:
      root: a folder with `CLASS/v_CLASS_gNN_cMM.avi` and the official lists, `trainlist01.txt` and so on, at any
        depth, or with the archives of both.
      split: number of the official split: 1, 2 or 3.

    Raises:
      InputError: the split is unknown, its lists are missing, or none of its videos exists.
    """
    if split not in (1, 2, 3):
        raise InputError(f"config.source.split of ucf101 must be 1, 2 or 3, got {split!r}")
    place = unpack(check_root(root))
    paths = {path.name: path for path in sorted(place.rglob("*.avi"))}
    files, lost = [], []
    for part in ("train", "test"):
        for line in os.fsdecode(find_one(place, f"{part}list{split:02d}.txt").read_bytes()).splitlines():
            if not line.strip():
                continue
            name = re.sub(r"\s+\d+$", "", line.strip())
            label, _, file_name = name.rpartition("/")
            path = paths.get(file_name, place / name)
            if file_name not in paths:
                lost.append(name)
            files.append(VideoFile(path, name, label, part, _group(path)))
    if len(lost) == len(files):
        raise InputError(f"{root}: holds none of the videos that its lists name, such as {lost[0]}; unpack them there")
    return Listing(tuple(files), given=f"given by official split {split} of UCF101")


def _group(path: Path) -> str:
    match = re.search(r"_(g\d+)_c\d+$", path.stem)
    return match.group(1) if match else ""
