"""Random-access sources of labelled videos: made ones, and real files in a folder or a manifest.

A source is opened by name (`open_source`), and gives two splits of `Video`s and the sorted class names. What a
video costs to hold is a few hundred bytes: frames are read when a clip asks for them.
"""

import csv
import dataclasses
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vjax import spec
from vjax.data import decode
from vjax.data.datasets import moving_shapes
from vjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Video:
    """One labelled video, of which any frames can be read.

    Attributes:
      name: what tables and messages call it: a path relative to the source's root, or a record's id.
      label: index of its class.
      num_frames: frames it has.
      fps: frames per second.
      read: frame indices `(t)` to uint8 frames `(t h w c)`.
    """

    name: str
    label: int
    num_frames: int
    fps: float
    read: Callable[[np.ndarray], np.ndarray]


class VideoSequence(Protocol):
    """A split: videos by position."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Video: ...


@dataclasses.dataclass(frozen=True)
class BadVideo:
    """A video that cannot be read, and why."""

    name: str
    split: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Source:
    """Two splits of labelled videos.

    Attributes:
      class_names: sorted; a label is an index into it.
      train: the videos to train on.
      test: the videos to evaluate on.
      split: in words, how the two were told apart, for protocols.
      bad_videos: those of either split that cannot be read; they are in neither.
    """

    class_names: tuple[str, ...]
    train: VideoSequence
    test: VideoSequence
    split: str
    bad_videos: tuple[BadVideo, ...] = ()


def open_source(config: Mapping[str, Any], *, seed: int, held_out: str = "") -> Source:
    """Returns the source a config names.

    Args:
      config: `dict(name=..., **kwargs)` with a name of `SOURCES`.
      seed: draws a split where one has to be made.
      held_out: comma-separated groups that make the test split; empty where the source splits otherwise.

    Raises:
      InputError: nothing, or nothing consistent, is found there.
    """
    return spec.create(config, SOURCES, what="config.source", seed=seed, held_out=held_out)


# Made videos --------------------------------------------------------------------------------------------------


def open_moving_shapes(
    *,
    seed: int,
    held_out: str,
    data_dir: str,
    label: str = "motion",
    num_train: int = 2000,
    num_test: int = 400,
    size: int = 40,
    data_seed: int = 0,
) -> Source:
    """Returns the made data set `moving_shapes`, writing it under `data_dir` the first time.

    Args:
      seed: not used: the data set stays the same from run to run.
      held_out: must be empty; the test split is made with other random numbers.
      data_dir: where the data set is kept.
      label: what the class is: "motion", "shape", or "both".
      num_train: training videos.
      num_test: test videos.
      size: pixels of a frame's side.
      data_seed: of everything drawn.
    """
    del seed
    if held_out:
        raise InputError(f"moving_shapes has no groups to hold out, got held_out={held_out!r}")
    options = moving_shapes.Options(label, num_train, num_test, size, data_seed)
    builder = moving_shapes.prepare(options, data_dir=data_dir)
    train, test = (moving_shapes.open_split(builder, split) for split in ("train", "test"))
    return Source(
        class_names=tuple(options.class_names),
        train=_Records(train),
        test=_Records(test),
        split="held-out made videos",
    )


@dataclasses.dataclass(frozen=True)
class _Records:
    """A split of a TFDS data set as videos."""

    records: Any

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, position: int, /) -> Video:
        return Video(**self.records[position])


# Real files ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class VideoFile:
    """A row of a manifest: where a video is and what is said of it.

    Attributes:
      path: of the file.
      name: the path as the manifest or folder has it.
      label: name of the class.
      split: "train", "test", or empty where it is not given.
      group: videos of one group (a subject, a recording) stay on one side of a made split.
    """

    path: Path
    name: str
    label: str
    split: str
    group: str


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
        read = _FileReader(file.path)
        splits[file.split].append(Video(file.name, label, info.num_frames, info.fps, read))
    for label, name in enumerate(class_names):
        if not any(video.label == label for video in splits["train"]):
            raise InputError(f"{root}: class {name!r} has no readable video to train on")
    if not splits["test"]:
        raise InputError(f"{root}: no readable video is left to test on")
    return Source(class_names, splits["train"], splits["test"], split, tuple(bad_videos))


def open_video(path: str | Path) -> Video:
    """Returns one video file as a video without a label (0).

    Raises:
      VideoError: it cannot be read.
    """
    info = decode.probe(path)
    return Video(str(path), 0, info.num_frames, info.fps, _FileReader(Path(path)))


@dataclasses.dataclass(frozen=True)
class _FileReader:
    path: Path

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        return decode.read_frames(self.path, indices)


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


def split_files(
    files: Sequence[VideoFile], *, held_out: str, test_share: float, seed: int
) -> tuple[list[VideoFile], str]:
    """Returns the files with their split filled in, and how that was done in words.

    Groups named by `held_out` are the test split; else a given split is kept; else whole groups are drawn until
    about `test_share` of every class is in test.
    """
    if held_out:
        wanted = [name.strip() for name in held_out.split(",")]
        spec.check_names(wanted, sorted({file.group for file in files} - {""}), what="held_out group")
        split = [dataclasses.replace(f, split="test" if f.group in wanted else "train") for f in files]
        return split, f"held out: {', '.join(wanted)}"
    if all(file.split for file in files):
        return list(files), "given by the manifest"
    test_groups = _draw_test_groups(files, test_share=test_share, seed=seed)
    split = [dataclasses.replace(f, split="test" if _group_of(f) in test_groups else "train") for f in files]
    return split, f"made, {test_share:.0%} of each class, groups kept together, seed {seed}"


def _draw_test_groups(files: Sequence[VideoFile], *, test_share: float, seed: int) -> set[str]:
    """Returns groups, in random order taken as long as at least half of a group is still wanted in test."""
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for file in files:
        groups[_group_of(file)][file.label] += 1
    if len(groups) == 1:
        raise InputError(
            f"no split can be made: all {len(files)} videos are of one group; add others, or give a split in a manifest"
        )
    wanted = {label: max(1, round(test_share * count)) for label, count in Counter(f.label for f in files).items()}
    names = sorted(groups)
    np.random.default_rng(seed).shuffle(names)
    chosen: set[str] = set()
    tested: set[str] = set()
    left = Counter(label for counts in groups.values() for label in counts)  # groups of each class still in train
    # First the groups that fit the share; then, for classes that have none in test yet, the smallest that do not.
    for fitting, order in ((True, names), (False, sorted(names, key=lambda name: groups[name].total()))):
        for name in order:
            counts = groups[name]
            useful = sum(min(count, wanted[label]) for label, count in counts.items())
            fits = 2 * useful >= counts.total() if fitting else not counts.keys() <= tested
            if name in chosen or not fits or any(left[label] == 1 for label in counts):
                continue
            chosen.add(name)
            tested |= counts.keys()
            left -= Counter(counts.keys())
            for label, count in counts.items():
                wanted[label] = max(0, wanted[label] - count)
    # Where none can be spared, the smallest one is nearest to the share.
    return chosen or {min(names, key=lambda name: groups[name].total())}


def _group_of(file: VideoFile) -> str:
    # The prefix keeps a video without a group apart from a group of the same name.
    return f"group {file.group}" if file.group else f"video {file.name}"


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


SOURCES: dict[str, Callable[..., Source]] = {"moving_shapes": open_moving_shapes, "videos": open_videos}
