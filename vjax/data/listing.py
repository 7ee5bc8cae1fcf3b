"""Lists the videos of a dataset with their labels: from a folder of `class/video.ext` or from a manifest."""

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
    """A listed video file with its label, split and group.

    Attributes:
      path: path of the file.
      name: name of the video in messages and tables; for folders and manifests, its path as listed there.
      label: name of the class.
      split: "train", "test", or empty if not given.
      group: name of the video's group (a subject, a recording), empty if none; a random split keeps the videos of a
        group on one side.
    """

    path: Path
    name: str
    label: str
    split: str
    group: str


@dataclasses.dataclass(frozen=True)
class Listing:
    """The videos of a dataset.

    Attributes:
      files: listed files; a file that does not exist counts as unreadable.
      missing: videos that the annotations name but that are no longer available; reported, never an error.
    """

    files: tuple[VideoFile, ...]
    missing: tuple[BadVideo, ...] = ()


def list_videos(*, root: str, group: str = "", outside_root: bool = False) -> Listing:
    """Returns the videos of a folder of `class/video.ext`, or of a manifest.

    Args:
      root: a folder with one folder of videos per class, or a CSV file with the columns `path,label[,split][,group]`,
        whose paths are relative to the file's folder.
      group: regular expression that is searched in a video's path; its first capture group is the video's group. The
        group column of a manifest takes precedence. A video without a group is a group of its own.
      outside_root: whether a manifest's paths may lead out of the manifest's folder.
    """
    place = check_root(root)
    files = list_manifest(place, outside_root=outside_root) if place.is_file() else list_folder(place)
    return Listing(tuple(find_groups(files, group)))


def check_root(root: str) -> Path:
    """Returns the path of a source's root; raises an InputError if it does not exist."""
    place = Path(root).expanduser()
    if not root or not place.exists():
        raise InputError(
            f"config.source.root: {root!r} does not exist; give a folder of class/video.ext, a manifest.csv, or a "
            "store that `vjax prepare` wrote"
        )
    return place


def list_folder(root: Path) -> list[VideoFile]:
    """Returns the files of a folder `class/video.ext`, sorted.

    Hidden files and folders are left out. Pipes and broken links are included; they are found unreadable later.
    """
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
    """Returns the rows of a CSV file `path,label[,split][,group]`; other columns are ignored.

    Paths are relative to the manifest's folder. They may lead out of it only with `outside_root`.
    """
    # Parse the file and check its header.
    folder = path.parent.resolve()
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: a manifest must be a CSV file in UTF-8: {error}") from error
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
    # Check every row.
    files = []
    for line, row in rows:
        if not row["path"] or not row["label"]:
            raise InputError(f"{path}, line {line}: path and label must not be empty")
        split = row.get("split") or ""
        if split not in ("", "train", "test"):
            raise InputError(f"{path}, line {line}: split must be 'train' or 'test', got {split!r}")
        # Paths are checked as text: ".." and absolute paths must not leave the folder, and "~" is not expanded. Links
        # inside the folder are followed; they are the responsibility of its owner.
        if not outside_root and not Path(os.path.normpath(folder / row["path"])).is_relative_to(folder):
            raise InputError(
                f"{path}, line {line}: {row['path']!r} lies outside of {path.parent}; move the manifest, or allow it "
                "with outside_root=True in the source"
            )
        files.append(VideoFile(path.parent / row["path"], row["path"], row["label"], split, row.get("group") or ""))
    # A split must be given for all rows or for none.
    given = sum(bool(file.split) for file in files)
    if 0 < given < len(files):
        raise InputError(f"{path}: {given} of {len(files)} rows have a split; give it in all rows or in none")
    return files


def find_groups(files: Sequence[VideoFile], pattern: str) -> list[VideoFile]:
    """Returns the files; a file without a group gets the first capture group of the pattern, searched in its name."""
    if not pattern:
        return list(files)
    return [dataclasses.replace(file, group=file.group or _find_group(pattern, file)) for file in files]


def _find_group(pattern: str, file: VideoFile) -> str:
    try:
        match = re.search(pattern, file.name)
        return (match.group(1) or "") if match else ""
    except (re.error, IndexError) as error:
        raise InputError(
            f"config.source.group: {pattern!r} must be a regular expression with a capture group: {error}"
        ) from error
