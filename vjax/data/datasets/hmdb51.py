"""HMDB51: 6,766 clips of 51 actions, with three official splits.

Source: Kuehne et al. 2011, "HMDB: a large video database for human motion recognition". In each split a class has
70 training clips and 30 test clips; the other clips are unused. Clips cut from one film form a group.
"""

import os
import re

from vjax.data.archives import unpack
from vjax.data.listing import Listing, VideoFile, check_root
from vjax.errors import InputError

_PARTS = {"1": "train", "2": "test"}  # "0": in neither split


def list_videos(*, root: str, split: int = 1) -> Listing:
    """Returns the videos of an official split.

    Args:
      root: a folder with `CLASS/NAME.avi` and the official lists, `CLASS_test_split1.txt` and so on, at any depth.
      split: number of the official split: 1, 2 or 3.
    """
    # Find the lists and the videos.
    if split not in (1, 2, 3):
        raise InputError(f"config.source.split of hmdb51 must be 1, 2 or 3, got {split!r}")
    place = unpack(check_root(root))
    lists = sorted(place.rglob(f"*_test_split{split}.txt"))
    if not lists:
        raise InputError(f"{root}: the lists CLASS_test_split{split}.txt are missing; unpack the official splits there")
    paths = {(path.parent.name, path.name): path for path in sorted(place.rglob("*.avi"))}
    if not paths:
        raise InputError(f"{root}: holds no CLASS/NAME.avi; unpack the videos there")
    # Read the lists; each line has a file name and a part.
    files = []
    for path in lists:
        label = path.name.removesuffix(f"_test_split{split}.txt")
        for line in os.fsdecode(path.read_bytes()).splitlines():
            name, _, part = line.strip().rpartition(" ")
            if part in _PARTS:
                name = name.strip()
                video = paths.get((label, name), place / label / name)
                files.append(VideoFile(video, f"{label}/{name}", label, _PARTS[part], _film(name, label)))
    return Listing(tuple(files), given=f"given by official split {split} of HMDB51")


def _film(name: str, label: str) -> str:
    """Returns the film that a clip was cut from: the text before `_ACTION_f_cm_np1_fr_med_0.avi`."""
    match = re.match(rf"(.*)_{re.escape(label)}_[a-z]+_[a-z]+_np\d+_", name, re.IGNORECASE)
    return match.group(1) if match else ""
