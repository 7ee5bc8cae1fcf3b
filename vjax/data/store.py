"""Reads prepared stores, which `vjax prepare` writes, as sources.

A store is a folder with a TFDS dataset in ArrayRecord files, `index.csv` and `store.json`. The index has one row for
every video, unreadable ones included. `store.json` is written last: a store without it is incomplete.
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
from vjax.data.listing import AUTO_GROUPS, VideoFile, find_groups
from vjax.data.records import RecordReader, read_raw
from vjax.data.splits import SPLITS, SplitRule, split_files
from vjax.data.video import BadVideo, Source, Video
from vjax.errors import InputError
from vjax.json_files import read_json

STORE_FILE = "store.json"
INDEX_FILE = "index.csv"
PARTS_FOLDER = "parts"


@dataclasses.dataclass(frozen=True)
class IndexRow:
    """A row of `index.csv`.

    Attributes:
      name: name of the video in the listing that the store was prepared from (`VideoFile.name`).
      label: name of the class; empty for a video that the annotations name but that is missing.
      split: "train", "val" or "test": the TFDS split that contains the record.
      group: name of the video's group, empty if none; a random split keeps the videos of a group on one side.
      num_frames: number of stored frames; 0 if there is no record.
      fps: frames per second of the stored frames.
      height: height of a stored frame in pixels.
      width: width of a stored frame in pixels.
      reason: why there is no record; empty if there is one.
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
    """Tells whether a folder is a complete store.

    Raises:
      InputError: the folder is an incomplete store.
    """
    root = Path(root).expanduser()
    if (root / STORE_FILE).is_file():
        return True
    if (root / PARTS_FOLDER / "plan.json").is_file():
        raise InputError(f"{root}: its preparation was interrupted; run the same `vjax prepare` again to complete it")
    return False


def open_store(
    root: str | Path,
    source: Mapping[str, Any],
    *,
    rule: SplitRule,
    max_bad_share: float = 1.0,
) -> Source:
    """Opens a store as a source; its videos are split as the original files would be.

    Args:
      root: folder that `vjax prepare` wrote.
      source: name and options from the config. Unless the name is "videos", they must be those that the store was
        prepared from, except for `root` and `annotations`.
      rule: how the videos are split if the original does not say it.
      max_bad_share: largest allowed share of videos that could not be prepared.

    Raises:
      InputError: the store was prepared from another source, too many videos could not be prepared, a class has no
        videos to train on, or there are none to test on.
    """
    # Split the videos of the index.
    root = Path(root).expanduser()
    about = read_json(root / STORE_FILE)
    _check_prepared_from(root, about["source"], source)
    files, rows = read_store_files(root, source.get("group", ""))
    files, split = split_files(files, given=about["split"], rule=rule)
    # Pair every row that has a record with the reader of that record.
    class_names = tuple(about["class_names"])
    builder = tfds.builder_from_directory(root)
    readers = {split: _readers(builder, split, rows) for split in builder.info.splits}
    found: dict[str, list[Video]] = {split: [] for split in SPLITS}
    bad_videos, missing = [], []
    labels = {name: number for number, name in enumerate(class_names)}
    for row, file in zip(rows, files, strict=True):
        if row.reason:
            kind = bad_videos if row.label else missing
            kind.append(BadVideo(row.name, file.split, row.reason))
            continue
        read = next(readers[row.split])
        found[file.split].append(Video(row.name, labels[row.label], row.num_frames, row.fps, read, file.group))
    opened = Source(
        class_names,
        found["train"],
        found["test"],
        f"{split}; {_describe(about)}",
        val=found["val"],
        bad_videos=tuple(bad_videos),
    )
    check_readable(str(root), opened, max_bad_share=max_bad_share)
    return dataclasses.replace(opened, bad_videos=(*bad_videos, *missing))


def _readers(builder: Any, split: str, rows: Sequence[IndexRow]) -> Iterator[FrameReader | RecordReader]:
    """Yields a reader for each record of a TFDS split, in order.

    If a file of records has a frame table, the readers use it; otherwise they read complete records.
    """
    records = read_raw(builder, split)
    position, info = 0, builder.info.splits[split]
    with_records = iter([row for row in rows if row.split == split and not row.reason])
    for path, length in zip(info.filepaths, info.shard_lengths, strict=True):
        table, first = Path(f"{path}{TABLE_ENDING}"), 0
        has_table = table.exists()  # stores written by older versions have none
        for row in itertools.islice(with_records, length):
            if has_table:
                yield FrameReader(str(path), str(table), first, row.num_frames, row.name)
            else:
                yield RecordReader(records, position, row.name)
            position, first = position + 1, first + row.num_frames


def read_store_files(root: str | Path, group: str) -> tuple[list[VideoFile], list[IndexRow]]:
    """Returns the videos of a store and their rows of the index, in the same order; only a given split is kept."""
    root = Path(root).expanduser()
    rows, about = read_index(root / INDEX_FILE), read_json(root / STORE_FILE)
    files = [
        VideoFile(Path(row.name), row.name, row.label, row.split if about["split_given"] else "", row.group)
        for row in rows
    ]
    if group == AUTO_GROUPS and about["source"].get("group") != AUTO_GROUPS:
        raise InputError(
            f"{root}: the store was prepared without proposed groups; prepare it again with "
            f"--source.group={AUTO_GROUPS}, or leave config.source.group empty"
        )
    return find_groups(files, group), rows


def read_index(path: Path) -> list[IndexRow]:
    """Returns the rows of an index; the rows of a TFDS split are in the order of its records."""
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
    """Writes the rows of an index as CSV, with a header."""
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
                f"{key}={asked[key]!r}; prepare another store from that source, or change config.source"
            )
