"""Which videos there are, and what is said of them: a folder of `class/video.ext`, or a manifest."""

import csv
import dataclasses
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

from vjax.data.video import BadVideo
from vjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class VideoFile:
    """A row of a manifest: where a video is and what is said of it.

    Attributes:
      path: of the file.
      name: the path as the manifest or folder has it.
      label: name of the class.
      split: "train", "test", or empty where it is not given.
      group: videos of one group (a subject, a recording) stay on one side of a random split.
    """

    path: Path
    name: str
    label: str
    split: str
    group: str


@dataclasses.dataclass(frozen=True)
class Listing:
    """The videos of a data set.

    Attributes:
      files: those that are there, or should be.
      missing: those that annotations name and nobody has any more; reported, and never fatal.
    """

    files: tuple[VideoFile, ...]
    missing: tuple[BadVideo, ...] = ()


def list_videos(*, root: str, group: str = "", outside_root: bool = False) -> Listing:
    """Returns the videos of a folder of `class/video.ext`, or of a manifest.

    Args:
      root: a folder with a folder of videos for each class, or a CSV file with the columns
        `path,label[,split][,group]`, whose paths are relative to it.
      group: a regular expression whose first parenthesis, searched in a video's path, is its group; a manifest's
        group column comes first. Without either every video is a group of its own.
      outside_root: whether a manifest's paths may lead out of the manifest's folder.
    """
    place = check_root(root)
    files = list_manifest(place, outside_root=outside_root) if place.is_file() else list_folder(place)
    return Listing(tuple(find_groups(files, group)))


def check_root(root: str) -> Path:
    """Returns the path of a source's root; raises an InputError where there is nothing."""
    place = Path(root).expanduser()
    if not root or not place.exists():
        raise InputError(
            f"config.source.root: {root!r} does not exist; give a folder of class/video.ext, a manifest.csv, or what "
            "`vjax prepare` wrote"
        )
    return place


def list_folder(root: Path) -> list[VideoFile]:
    """Returns what lies in a folder `class/video.ext`, sorted, pipes and broken links included; not what is hidden."""
    classes = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        raise InputError(f"{root}: holds no class folders; videos belong in {root}/CLASS/VIDEO.EXT")
    files = []
    for folder in classes:
        paths = sorted(
            p
            for p in folder.rglob("*")
            if not p.is_dir() and not any(part.startswith(".") for part in p.relative_to(folder).parts)
        )
        if not paths:
            raise InputError(f"{folder}: the class folder is empty; put videos into it or remove it")
        files += [VideoFile(p, p.relative_to(root).as_posix(), folder.name, "", "") for p in paths]
    return files


def list_manifest(path: Path, *, outside_root: bool = False) -> list[VideoFile]:
    """Returns the rows of a CSV file `path,label[,split][,group]`; other columns are not looked at.

    Paths are relative to the manifest's folder, and may only leave it with `outside_root`.
    """
    folder = path.parent.resolve()
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: a manifest is a CSV file in UTF-8, and this is not UTF-8: {error}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = {"path", "label"} - set(reader.fieldnames or ())
    if missing:
        raise InputError(
            f"{path}: the manifest's first line lacks the column {sorted(missing)[0]!r}; it must name "
            "path,label[,split][,group]"
        )
    rows = [(reader.line_num, row) for row in reader]
    if not rows:
        raise InputError(f"{path}: the manifest has no rows")
    files = []
    for line, row in rows:
        if not row["path"] or not row["label"]:
            raise InputError(f"{path}, line {line}: path and label must not be empty")
        split = row.get("split") or ""
        if split not in ("", "train", "test"):
            raise InputError(f"{path}, line {line}: split is 'train' or 'test', got {split!r}")
        # Links inside the folder are its owner's business; "..", absolute paths and "~" are not followed.
        if not outside_root and not Path(os.path.normpath(folder / row["path"])).is_relative_to(folder):
            raise InputError(
                f"{path}, line {line}: {row['path']!r} lies outside of {path.parent}; move the manifest, or allow it "
                "with outside_root=True in the source"
            )
        files.append(VideoFile(path.parent / row["path"], row["path"], row["label"], split, row.get("group") or ""))
    given = sum(bool(file.split) for file in files)
    if 0 < given < len(files):
        raise InputError(f"{path}: {given} of {len(files)} rows have a split; give it in all rows or in none")
    return files


def find_groups(files: Sequence[VideoFile], pattern: str) -> list[VideoFile]:
    """Returns the files, those without a group with what the pattern's first parenthesis finds in their names."""
    if not pattern:
        return list(files)
    return [dataclasses.replace(file, group=file.group or _find_group(pattern, file)) for file in files]


def _find_group(pattern: str, file: VideoFile) -> str:
    try:
        match = re.search(pattern, file.name)
        return (match.group(1) or "") if match else ""
    except (re.error, IndexError) as error:
        raise InputError(
            f"config.source.group: {pattern!r} must be a regular expression with one parenthesis: {error}"
        ) from error
