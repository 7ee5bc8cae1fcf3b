"""Lists the videos of a dataset with their labels: from a folder of `class/video.ext` or from a manifest."""

import csv
import dataclasses
import io
import os
import re
import shlex
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from vjax.data.video import BadVideo
from vjax.errors import InputError

AUTO_GROUPS = "auto"  # as the option group of a source: groups are proposed

# Files in class folders that are not listed, in lower case: notes by their ending, and what systems leave by its name.
_NOTES = {".txt", ".md", ".csv", ".json", ".xml", ".srt"}
_SYSTEM_FILES = {"thumbs.db", "desktop.ini"}
# Pictures that may be the frames of a video, by their ending.
_JPEG = {".jpg", ".jpeg"}
_FRAMES = _JPEG | {".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}


# Folders of these names hold the classes of a split; no class is called so where there are two of them.
_SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
}


@dataclasses.dataclass(frozen=True)
class VideoFile:
    """A listed video file with its label, split and group.

    Attributes:
      path: path of the file.
      name: name of the video in messages and tables; for folders and manifests, its path as listed there.
      label: name of the class.
      split: "train", "val", "test", or empty if not given.
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
      given: description of the split that the files give, if they give one.
      problems: one line for each thing that is wrong with the folder; only the doctor accepts a listing with problems.
    """

    files: tuple[VideoFile, ...]
    missing: tuple[BadVideo, ...] = ()
    given: str = "given by the dataset"
    problems: tuple[str, ...] = ()


def list_videos(*, root: str, group: str = "", outside_root: bool = False) -> Listing:
    """Returns the videos of a folder of `class/video.ext`, or of a manifest.

    Args:
      root: a folder with one folder of videos per class, or with folders `train`, `test` and perhaps `val` of such
        folders; or a CSV file with the columns `path,label[,split][,group]`, whose paths are relative to the file's
        folder.
      group: regular expression that is searched in a video's path; its first capture group is the video's group. The
        group column of a manifest takes precedence. A video without a group is a group of its own. "auto" proposes
        groups of videos that seem to be of one camera and place.
      outside_root: whether a manifest's paths may lead out of the manifest's folder.
    """
    place = check_root(root)
    if place.is_file():
        files, given = _without_lone_val(list_manifest(place, outside_root=outside_root))
        listing = Listing(tuple(files), given=f"given by the manifest{given}")
    else:
        listing = list_folder(place)
    return dataclasses.replace(listing, files=tuple(find_groups(listing.files, group)))


def check_listing(listing: Listing) -> None:
    """Raises an InputError if a listing has problems; its message is the first of them."""
    if listing.problems:
        more = len(listing.problems) - 1
        raise InputError(listing.problems[0] + (f" (`vjax doctor` lists {more} more problem(s))" if more else ""))


def check_root(root: str) -> Path:
    """Returns the path of a source's root; raises an InputError if it does not exist."""
    place = Path(root).expanduser()
    if not root or not place.exists():
        raise InputError(
            f"config.source.root: {root!r} does not exist; give a folder of class/video.ext, a manifest.csv, or a "
            "store that `vjax prepare` wrote"
        )
    return place


def check_annotations(annotations: str) -> Path:
    """Returns the folder of a dataset's official lists; raises an InputError if there is no such folder."""
    place = Path(annotations).expanduser()
    if not place.is_dir():
        raise InputError(
            f"config.source.annotations: {annotations!r} is not a folder; give the folder of the dataset's official "
            "lists, or leave this option out if root holds them"
        )
    return place


def list_folder(root: Path) -> Listing:
    """Returns the videos of a folder `class/video.ext`, or `train/class/video.ext` and `test/class/video.ext`, sorted.

    In the second form the split is given. There may also be `val`; it is the test split if there is no other. Hidden
    files and folders, notes and system files are left out. Pipes and broken links are included; they are found
    unreadable later. An empty class folder and frames in files of their own are problems of the listing.
    """
    folders = _subfolders(root)
    if not folders:
        raise InputError(f"{root}: holds no class folders; videos belong in {root}/CLASS/VIDEO.EXT")
    splits = {folder: _SPLIT_FOLDERS.get(folder.name.lower(), "") for folder in folders}
    given = {split for split in splits.values() if split}
    if given == {"val", "test"}:
        names = " and ".join(folder.name for folder in folders)
        raise InputError(
            f"{root}: holds the folders {names}, which are splits, and none to train on; add a folder train"
        )
    if "train" not in given or len(given) == 1:
        files, problems = _list_classes(root, folders, split="")
        return Listing(tuple(files), problems=tuple(problems))
    # Folders for the splits: exactly one for each, and no class next to them.
    if len(folders) > len(given):
        names = ", ".join(folder.name for folder in folders)
        raise InputError(
            f"{root}: holds the folders {names}. Two of such names are splits, and vjax takes one folder each of "
            "train, val and test; move the others away, or give a manifest path,label,split"
        )
    files, problems = [], []
    for folder, split in splits.items():
        classes = _subfolders(folder)
        of_split, wrong = _list_classes(root, classes, split=split)
        if not classes:
            wrong = [f"{folder}: holds no class folders; videos belong in {folder}/CLASS/VIDEO.EXT"]
        files, problems = files + of_split, problems + wrong
    files, lone_val = _without_lone_val(files)
    return Listing(
        tuple(files),
        given=f"given by the folders {' and '.join(folder.name for folder in folders)}{lone_val}",
        problems=tuple(problems),
    )


def _without_lone_val(files: Sequence[VideoFile]) -> tuple[list[VideoFile], str]:
    """Returns files of which some are for testing, and words for it: without a test split, val is the test split."""
    given = {file.split for file in files}
    if "val" not in given or "test" in given:
        return list(files), ""
    return (
        [dataclasses.replace(file, split="test") if file.split == "val" else file for file in files],
        " (val is used as the test split)",
    )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _list_classes(root: Path, folders: Sequence[Path], *, split: str) -> tuple[list[VideoFile], list[str]]:
    """Returns the files of class folders, and a line for each problem."""
    files, problems, series = [], [], []
    for folder in folders:
        inside = sorted(p for p in folder.rglob("*") if not p.is_dir())
        paths = [p for p in inside if not is_left_out(p.relative_to(folder))]
        if not paths:
            what = f"holds no videos, only files such as {inside[0].name}" if inside else "is empty"
            problems.append(f"{folder}: the class folder {what}; put videos into it or remove it")
        of_class = _find_frames(paths)
        frames = {path for pictures in of_class for path in pictures}
        series += [(folder, pictures) for pictures in of_class]
        files += [
            VideoFile(p, p.relative_to(root).as_posix(), folder.name, split, "") for p in paths if p not in frames
        ]
    if series:
        problems.append(_explain_frames(root, len(series), *series[0]))
    return files, problems


def is_left_out(path: Path) -> bool:
    """Tells whether a file is hidden, a note or a system file, from its path in the class folder."""
    hidden = any(part.startswith(".") for part in path.parts)
    return hidden or path.suffix.lower() in _NOTES or path.name.lower() in _SYSTEM_FILES


def _find_frames(paths: Sequence[Path]) -> list[list[Path]]:
    """Returns the pictures that are the frames of videos, one list for each video.

    Pictures of one folder that are alike but for the number that ends their names are a series. They are frames if
    the folder has more of them than other files; a numbered picture of each video is not a frame.
    """
    others = defaultdict[Path, int](int)
    series = defaultdict[tuple[Path, str, str], list[Path]](list)
    for path in paths:
        prefix = path.stem.rstrip("0123456789")
        if path.suffix.lower() in _FRAMES and prefix != path.stem:
            series[path.parent, prefix, path.suffix].append(path)
        else:
            others[path.parent] += 1
    return [found for (folder, _, _), found in series.items() if len(found) > max(1, others[folder])]


def _explain_frames(root: Path, num_series: int, class_folder: Path, pictures: Sequence[Path]) -> str:
    """Returns the problem that frames are files of their own, with the command that makes a video of the first ones."""
    folder, suffix = pictures[0].parent, pictures[0].suffix
    prefix = pictures[0].stem.rstrip("0123456789")
    numbers = [path.stem[len(prefix) :] for path in pictures]
    padded = len({len(number) for number in numbers}) == 1
    first = min(map(int, numbers))
    # The video takes the place of the folder, unless that is the class folder.
    if folder == class_folder:
        video = folder / f"{prefix.strip(' ._-') or folder.name}.mkv"
    else:
        video = folder.with_name(f"{folder.name}.mkv")
    pattern = f"{folder}/{prefix}".replace("%", "%%") + (f"%0{len(numbers[0])}d" if padded else "%d") + suffix
    start = f" -start_number {first}" if first > 4 else ""  # ffmpeg looks for the first number from 0 to 4
    codec = "copy" if suffix.lower() in _JPEG else "ffv1"  # both without loss
    return (
        f"{root}: holds the frames of {num_series} video(s) as pictures, such as the {len(pictures)} in {folder}; a "
        "video is one file. Make a file of each, with its frames per second: "
        f"ffmpeg -framerate 25{start} -i {shlex.quote(pattern)} -c:v {codec} {shlex.quote(str(video))}; then remove "
        "the pictures"
    )


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
        if split not in ("", "train", "val", "test"):
            raise InputError(f"{path}, line {line}: split must be 'train', 'val' or 'test', got {split!r}")
        # Paths are checked as text: ".." and absolute paths must not leave the folder, and "~" is not expanded. Links
        # inside the folder are followed; they are the responsibility of its owner.
        if not outside_root and not Path(os.path.normpath(folder / row["path"])).is_relative_to(folder):
            raise InputError(
                f"{path}, line {line}: {row['path']!r} lies outside of {path.parent}; move the manifest, or allow it "
                "with --config.source.outside_root=True (vjax doctor and prepare: --source.outside_root=True)"
            )
        files.append(VideoFile(path.parent / row["path"], row["path"], row["label"], split, row.get("group") or ""))
    # A split must be given for all rows or for none.
    given = sum(bool(file.split) for file in files)
    if 0 < given < len(files):
        raise InputError(f"{path}: {given} of {len(files)} rows have a split; give it in all rows or in none")
    return files


def write_manifest(path: str | Path, files: Sequence[VideoFile]) -> None:
    """Writes files, with their splits and groups, as a manifest.

    Raises:
      InputError: the manifest exists or cannot be written, or a file lies outside of its folder.
    """
    path = Path(path)
    if path.exists():
        raise InputError(f"{path}: the file exists; give another name, or remove it")
    folder = Path(os.path.abspath(path.parent))
    rows = []
    for file in files:
        place = Path(os.path.abspath(file.path))
        if not place.is_relative_to(folder):
            raise InputError(f"{path}: {file.name} lies outside of {folder}; write the manifest next to the videos")
        rows.append((place.relative_to(folder).as_posix(), file.label, file.split, file.group))
    table = io.StringIO(newline="")
    csv.writer(table).writerows([("path", "label", "split", "group"), *rows])
    try:
        path.write_bytes(table.getvalue().encode())
    except UnicodeEncodeError as error:
        name = error.object[max(0, error.start - 20) : error.end + 20]
        raise InputError(f"{path}: a manifest is UTF-8, and the name at {name!r} is not; rename that file") from error
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def find_groups(files: Sequence[VideoFile], pattern: str) -> list[VideoFile]:
    """Returns the files; a file without a group gets the first capture group of the pattern, searched in its name.

    The pattern `AUTO_GROUPS` finds none: the groups are proposed from the videos (data/groups.py).
    """
    if pattern in ("", AUTO_GROUPS):
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
