"""Something-Something V2: 220,847 clips of 174 templates such as "Pushing something from left to right".

Source: Goyal et al. 2017, "The something something video database for learning and evaluating visual common sense".
The labels of its test set are not public, so the test split is `validation`.
"""

import json
from pathlib import Path
from typing import Any

from vjax.data.archives import find_one, unpack
from vjax.data.listing import Listing, VideoFile, check_annotations, check_root
from vjax.data.video import BadVideo
from vjax.errors import InputError


def list_videos(*, root: str, annotations: str = "") -> Listing:
    """Returns the annotated videos: those that exist, and the missing ones.

    Args:
      root: a folder with `ID.webm`, at any depth.
      annotations: a folder with `train.json` and `validation.json`, or with their older names such as
        `something-something-v2-train.json`, at any depth; `root` if not given.
    """
    place = unpack(check_root(root))
    lists = check_annotations(annotations) if annotations else place
    paths = {path.stem: path for path in sorted(place.rglob("*.webm"))}
    files, missing = [], []
    for split, name in (("train", "train.json"), ("test", "validation.json")):
        for entry in _entries(find_one(lists, name, f"something-something-v2-{name}")):
            label, clip = entry["template"].replace("[", "").replace("]", ""), str(entry["id"])
            if clip in paths:
                files.append(VideoFile(paths[clip], f"{clip}.webm", label, split, ""))
            else:
                missing.append(BadVideo(f"{clip}.webm", split, f"{clip}.webm: missing, not under {root}"))
    if not files:
        raise InputError(f"{root}: holds none of the {len(missing)} videos that the annotations name")
    return Listing(tuple(files), tuple(missing), given="given by Something-Something's train and validation lists")


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: is not JSON: {error}") from error
    if not all(isinstance(entry, dict) and {"id", "template"} <= entry.keys() for entry in entries):
        raise InputError(f"{path}: Something-Something's annotations must be objects with an id and a template")
    return entries
