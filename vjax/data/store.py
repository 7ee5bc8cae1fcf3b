"""Prepared stores: what `vjax prepare` wrote, read as a source.

A store is a TFDS data set in ArrayRecord files, and beside it `index.csv`, a line for every video, those that
could not be read included, and `store.json`, which is written last: without it a store is not whole.
"""

import csv
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from vjax.data.files import check_readable
from vjax.data.frame_table import TABLE_ENDING, FrameReader
from vjax.data.listing import VideoFile, find_groups
from vjax.data.records import RecordReader, read_raw
from vjax.data.splits import split_files
from vjax.data.video import BadVideo, Source, Video
from vjax.errors import InputError
from vjax.json_files import read_json

STORE_FILE = "store.json"
INDEX_FILE = "index.csv"
PARTS_FOLDER = "parts"


@dataclasses.dataclass(frozen=True)
class IndexRow:
    """A line of `index.csv`.

    Attributes:
      name: path relative to the root of the original.
      label: name of the class; empty for a video that annotations name and nobody has.
      split: "train" or "test": the TFDS split that holds the record.
      group: videos of one group stay on one side of a random split.
      num_frames: frames in the store; 0 where there is no record.
      fps: frames per second in the store.
      height: of a frame in the store.
      width: of a frame in the store.
      reason: why there is no record; empty where there is one.
    """

    name: str
    label: str
    split: str
    group: str
    num_frames: int
    fps: float
    height: int
    width: int
    reason: str


def is_store(root: str | Path) -> bool:
    """Tells whether a folder holds a whole store; raises an InputError where it holds half of one."""
    root = Path(root).expanduser()
    if (root / STORE_FILE).is_file():
        return True
    if (root / PARTS_FOLDER / "plan.json").is_file():
        raise InputError(f"{root}: preparing it was cut off; run the same `vjax prepare` again, it goes on from there")
    return False


def open_store(
    root: str | Path,
    source: Mapping[str, Any],
    *,
    seed: int,
    held_out: str,
    test_share: float,
    max_bad_share: float = 1.0,
) -> Source:
    """Returns a store's videos, split as the original would be.

    Args:
      root: the folder that `vjax prepare` wrote.
      source: name and options as the config has them; anything but the plain "videos" must be what was prepared.
      seed: draws the split where neither the original nor `held_out` gives it.
      held_out: comma-separated groups that make the test split.
      test_share: share of each class that a random split puts into test.
      max_bad_share: more videos that could not be prepared than this share of all is an error.

    Raises:
      InputError: the store was prepared from something else, or not enough of it could be.
    """
    root = Path(root).expanduser()
    about = read_json(root / STORE_FILE)
    _check_prepared_from(root, about["source"], source)
    files, rows = read_store_files(root, source.get("group", ""))
    if not about["split_given"]:
        files = [dataclasses.replace(file, split="") for file in files]
    files, split = split_files(files, held_out=held_out, test_share=test_share, seed=seed)
    class_names = tuple(about["class_names"])
    builder = tfds.builder_from_directory(root)
    readers = {split: _readers(builder, split, rows) for split in builder.info.splits}
    found: dict[str, list[Video]] = {"train": [], "test": []}
    bad_videos, missing = [], []
    labels = {name: number for number, name in enumerate(class_names)}
    for row, file in zip(rows, files, strict=True):
        if row.reason:
            kind = bad_videos if row.label else missing
            kind.append(BadVideo(row.name, file.split, row.reason))
            continue
        read = next(readers[row.split])
        found[file.split].append(Video(row.name, labels[row.label], row.num_frames, row.fps, read))
    train, test = found["train"], found["test"]
    check_readable(str(root), class_names, train, test, bad_videos, max_bad_share=max_bad_share)
    return Source(class_names, train, test, f"{split}; {_describe(about)}", (*bad_videos, *missing))


def _readers(builder: Any, split: str, rows: Sequence[IndexRow]) -> Iterator[FrameReader | RecordReader]:
    """Yields what reads each video of a TFDS split, in order: by the table of its file, or whole."""
    records = read_raw(builder, split)
    position, info = 0, builder.info.splits[split]
    with_records = iter([row for row in rows if row.split == split and not row.reason])
    for path, length in zip(info.filepaths, info.shard_lengths, strict=True):
        table, first = Path(f"{path}{TABLE_ENDING}"), 0
        has_table = table.exists()  # stores of older versions have none
        for row in itertools.islice(with_records, length):
            if has_table:
                yield FrameReader(str(path), str(table), first, row.num_frames, row.name)
            else:
                yield RecordReader(records, position, row.name)
            position, first = position + 1, first + row.num_frames


def read_store_files(root: str | Path, group: str) -> tuple[list[VideoFile], list[IndexRow]]:
    """Returns the videos of a store, with their lines in the index."""
    rows = read_index(Path(root).expanduser() / INDEX_FILE)
    files = [VideoFile(Path(row.name), row.name, row.label, row.split, row.group) for row in rows]
    return find_groups(files, group), rows


def read_index(path: Path) -> list[IndexRow]:
    """Returns the lines of an index; those of one TFDS split stand in the order of its records."""
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return [
            IndexRow(
                name=row["name"],
                label=row["label"],
                split=row["split"],
                group=row["group"],
                num_frames=int(row["num_frames"]),
                fps=float(row["fps"]),
                height=int(row["height"]),
                width=int(row["width"]),
                reason=row["reason"],
            )
            for row in csv.DictReader(stream)
        ]


def write_index(path: Path, rows: Sequence[IndexRow]) -> None:
    """Writes an index."""
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.DictWriter(stream, [field.name for field in dataclasses.fields(IndexRow)])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)


def _describe(about: Mapping[str, Any]) -> str:
    options = about["options"]
    fps = f" at {options['fps']:g} fps" if options["fps"] else ""
    return f"frames prepared{fps} with a short side of {options['short_side']}, JPEG quality {options['quality']}"


def _check_prepared_from(root: Path, prepared: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    if asked["name"] == "videos":
        return
    for key in ["name", *sorted(asked.keys() - {"name", "root", "annotations"})]:
        if asked[key] != prepared.get(key):
            raise InputError(
                f"{root}: was prepared from a source with {key}={prepared.get(key)!r}, and the config asks for "
                f"{key}={asked[key]!r}; prepare it for that, or change config.source"
            )
