"""Real videos as a source: a folder of `class/video.ext`, or a manifest."""

import csv
import dataclasses
import io
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vjax.data import decode
from vjax.data.splits import VideoFile, split_files
from vjax.data.video import BadVideo, FileReader, Source, Video
from vjax.errors import InputError


def open_videos(
    *,
    root: str,
    seed: int,
    held_out: str,
    group: str = "",
    test_share: float = 0.2,
    max_bad_share: float = 0.1,
) -> Source:
    """Returns real videos: a folder of `class/video.ext`, or a manifest.

    Every file is decoded once to count its frames; files that fail are left out and listed.

    Args:
      root: a folder with a folder of videos for each class, or a CSV file with the columns
        `path,label[,split][,group]`, whose paths are relative to it.
      seed: draws the split where neither the manifest nor `held_out` gives it.
      held_out: comma-separated groups that make the test split.
      group: a regular expression whose first parenthesis, searched in a video's path, is its group; a manifest's
        group column comes first. Without either every video is a group of its own.
      test_share: share of each class that a made split puts into test.
      max_bad_share: more unreadable videos than this share of all is an error.

    Raises:
      InputError: a folder or file is missing or empty, a class has nothing to train on, a label or a split is
        unknown, or too many videos cannot be read.
    """
    if not 0 < test_share < 1:
        raise InputError(f"config.source.test_share is a share between 0 and 1, got {test_share}")
    place = Path(root).expanduser()
    if not root or not place.exists():
        raise InputError(
            f"config.source.root: {root!r} does not exist; give a folder of class/video.ext or a manifest.csv"
        )
    files = list_manifest(place) if place.is_file() else list_folder(place)
    if group:
        files = [dataclasses.replace(file, group=file.group or _find_group(group, file)) for file in files]
    files, split = split_files(files, held_out=held_out, test_share=test_share, seed=seed)
    class_names = _class_names(files)
    found, bad_videos = _probe_all(files)
    if len(bad_videos) > max_bad_share * len(files):
        raise InputError(
            f"{root}: {len(bad_videos)} of {len(files)} videos cannot be read, more than max_bad_share="
            f"{max_bad_share:g}; the first: {bad_videos[0].reason}"
        )
    splits: dict[str, list[Video]] = {"train": [], "test": []}
    for file, info in found:
        label = class_names.index(file.label)
        read = FileReader(file.path)
        splits[file.split].append(Video(file.name, label, info.num_frames, info.fps, read))
    for label, name in enumerate(class_names):
        if not any(video.label == label for video in splits["train"]):
            raise InputError(f"{root}: class {name!r} has no readable video to train on")
    if not splits["test"]:
        raise InputError(f"{root}: no readable video is left to test on")
    return Source(class_names, splits["train"], splits["test"], split, tuple(bad_videos))


def list_folder(root: Path) -> list[VideoFile]:
    """Returns the files of a folder `class/video.ext`, sorted; hidden files are not looked at."""
    classes = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        raise InputError(f"{root}: holds no class folders; videos belong in {root}/CLASS/VIDEO.EXT")
    files = []
    for folder in classes:
        paths = sorted(
            p
            for p in folder.rglob("*")
            if p.is_file() and not any(part.startswith(".") for part in p.relative_to(folder).parts)
        )
        if not paths:
            raise InputError(f"{folder}: the class folder is empty; put videos into it or remove it")
        files += [VideoFile(p, p.relative_to(root).as_posix(), folder.name, "", "") for p in paths]
    return files


def list_manifest(path: Path) -> list[VideoFile]:
    """Returns the rows of a CSV file `path,label[,split][,group]`; other columns are not looked at."""
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
        files.append(VideoFile(path.parent / row["path"], row["path"], row["label"], split, row.get("group") or ""))
    given = sum(bool(file.split) for file in files)
    if 0 < given < len(files):
        raise InputError(f"{path}: {given} of {len(files)} rows have a split; give it in all rows or in none")
    return files


def _find_group(pattern: str, file: VideoFile) -> str:
    try:
        match = re.search(pattern, file.name)
        return (match.group(1) or "") if match else ""
    except (re.error, IndexError) as error:
        raise InputError(
            f"config.source.group: {pattern!r} must be a regular expression with one parenthesis: {error}"
        ) from error


def _class_names(files: Sequence[VideoFile]) -> tuple[str, ...]:
    trained = {file.label for file in files if file.split == "train"}
    for file in files:
        if file.label not in trained:
            raise InputError(
                f"{file.name}: the label {file.label!r} stands in the test split alone, so it can't be learned; "
                f"labels to train on: {', '.join(sorted(trained))}"
            )
    return tuple(sorted(trained))


def _probe_all(
    files: Sequence[VideoFile],
) -> tuple[list[tuple[VideoFile, decode.VideoInfo]], list[BadVideo]]:
    def probe(file: VideoFile) -> decode.VideoInfo | decode.VideoError:
        try:
            return decode.probe(file.path)
        except decode.VideoError as error:
            return error

    with ThreadPoolExecutor() as pool:  # decoding releases the GIL
        results = list(pool.map(probe, files))
    found, bad_videos = [], []
    for file, result in zip(files, results, strict=True):
        if isinstance(result, decode.VideoError):
            bad_videos.append(BadVideo(file.name, file.split, str(result)))
        else:
            found.append((file, result))
    return found, bad_videos
