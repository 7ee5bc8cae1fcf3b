"""Prepares a store from videos: every file is decoded once, and each frame is stored as a small JPEG of its own.

The unit of work is a shard: some videos, their ArrayRecord file, and a JSON file that describes its contents and is
written last. So workers share nothing, an interrupted `prepare` continues with the missing shards, and the same
function runs in this process, in worker processes, or on the machines of a Beam runner. The files of the store get
their final names only when all shards are done, and `store.json` is written last.
"""

import concurrent.futures
import dataclasses
import functools
import hashlib
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from vjax import typed
from vjax.data import decode
from vjax.data.files import name_classes
from vjax.data.frame_table import TABLE_ENDING, write_table
from vjax.data.jpeg import encode_frame
from vjax.data.listing import Listing, VideoFile, check_listing
from vjax.data.records import encode_record, video_features
from vjax.data.splits import SPLITS, SplitRule, split_files
from vjax.data.store import INDEX_FILE, PARTS_FOLDER, STORE_FILE, IndexRow, write_index
from vjax.data.threads import interruptible
from vjax.errors import InputError
from vjax.json_files import as_json, read_json, write_json
from vjax.ops.frames import shrink
from vjax.spec import Choice
from vjax.text import Advance

_DATASET = "videos"
_LEAST_VIDEOS = 8  # per shard, so that files do not become too small
_MOST_SHARDS = 512  # per split, because each shard is an open file while it is read
_RECORDS = "group_size:1,uncompressed"  # JPEG does not compress further; decompression would only add a pass


@dataclasses.dataclass(frozen=True)
class Options:
    """How frames are stored.

    Attributes:
      short_side: length of a frame's shorter side in pixels; smaller frames are not resized.
      fps: frames per second to keep; None, or more than a video has, keeps all frames.
      quality: JPEG quality, 1 to 100.
    """

    short_side: int = 128
    fps: float | None = None
    quality: int = 90

    def __post_init__(self):
        if self.short_side < 8:
            raise InputError(f"--short-side must be 8 pixels or more, got {self.short_side}")
        if self.fps is not None and self.fps <= 0:
            raise InputError(f"--fps must be above 0, got {self.fps}")
        if not 1 <= self.quality <= 100:
            raise InputError(f"--quality must be from 1 to 100, got {self.quality}")


@dataclasses.dataclass(frozen=True)
class Shard:
    """A unit of work: some videos of one split that are written to one file of records.

    Attributes:
      split: "train", "val" or "test".
      files: videos of the shard.
      part: path of the shard's files without their ending, such as `parts/train-00003`.
      class_names: all class names of the dataset.
      options: how frames are stored.
    """

    split: str
    files: tuple[VideoFile, ...]
    part: Path
    class_names: tuple[str, ...]
    options: Options


Runner = Callable[[Sequence[Shard]], Iterable[int]]  # writes shards; yields the number of videos of each


@dataclasses.dataclass(frozen=True)
class Prepared:
    """The contents of a finished store in numbers.

    Attributes:
      num_videos: number of videos in the store.
      num_bad: number of videos left out: unreadable or missing.
      num_bytes: size of all records in bytes.
    """

    num_videos: int
    num_bad: int
    num_bytes: int


def prepare(
    listing: Listing,
    source: Choice,
    out: str | Path,
    options: Options,
    *,
    run: Runner,
    advance: Advance,
) -> Prepared:
    """Writes a store, or continues an interrupted one.

    Args:
      listing: the videos.
      source: the choice that the listing was made from; it is recorded in the store.
      out: folder of the store; must not contain anything else.
      options: how frames are stored.
      run: function that writes shards (`run_here`, `run_in_processes`, `run_beam`).
      advance: progress callback; gets the number of finished videos and the number of all videos.

    Raises:
      InputError: the listing has problems, the folder contains something else, the videos cannot be split, or none of
        them can be read.
    """
    check_listing(listing)
    # Split the videos and claim the folder; only the same plan may continue an unfinished store.
    out = Path(out).expanduser()
    files, split_words = split_files(listing.files, given=listing.given, rule=SplitRule())
    class_names = name_classes(files)
    parts = out / PARTS_FOLDER
    prepared_from = typed.as_plain(source)
    _claim(out, {"source": prepared_from, "options": dataclasses.asdict(options), "files": _fingerprint(files)})
    # Write the shards that are not done yet.
    shards = list(_shards(files, parts, class_names, options))
    done = sum(len(shard.files) for shard in shards if _is_done(shard))
    advance(done, len(files))
    for count in run([shard for shard in shards if not _is_done(shard)]):
        done += count
        advance(done, len(files))
    # Turn the shards into a store.
    about = {
        "class_names": list(class_names),
        "source": prepared_from,
        "options": dataclasses.asdict(options),
        "split": split_words,
        "split_given": all(file.split for file in listing.files),
    }
    missing = [IndexRow(bad.name, "", bad.split, "", 0, 0.0, 0, 0, bad.reason) for bad in listing.missing]
    return _finish(out, shards, [file.split for file in files], about, missing)


def write_shard(shard: Shard) -> int:
    """Writes one shard; returns its number of videos."""
    # Write the records under a temporary name. An unreadable video only gets a row in the index.
    features = video_features(shard.class_names)
    records, half = shard.part.with_suffix(".array_record"), shard.part.with_suffix(".half")
    writer = ArrayRecordWriter(str(half), _RECORDS)
    rows, num_bytes = [], 0
    for file in shard.files:
        try:
            frames, row = _read(file, shard.split, shard.options)
        except decode.VideoError as error:
            rows.append(IndexRow(file.name, file.label, shard.split, file.group, 0, 0.0, 0, 0, str(error)))
            continue
        example = {
            "frames": frames,
            "label": file.label,
            "name": _text(row.name),
            "group": _text(row.group),
            "path": _text(str(file.path)),
            "fps": row.fps,
            "num_frames": row.num_frames,
        }
        record = encode_record(features, example)
        writer.write(record)
        rows.append(row)
        num_bytes += len(record)
    # Name the records, then describe them: the JSON file marks the shard as done.
    writer.close()
    os.replace(half, records)
    write_table(records, shard.part.with_suffix(TABLE_ENDING))
    write_json(shard.part.with_suffix(".json"), {"rows": list(map(dataclasses.asdict, rows)), "num_bytes": num_bytes})
    return len(shard.files)


def run_here(shards: Sequence[Shard]) -> Iterator[int]:
    """Writes shards one after the other in this process."""
    return (interruptible(functools.partial(write_shard, shard)) for shard in shards)


def run_in_processes(shards: Sequence[Shard], *, num_workers: int) -> Iterator[int]:
    """Writes shards in worker processes.

    Raises:
      InputError: a process died, because memory ran out or a decoder crashed; finished shards are kept.
    """
    context = multiprocessing.get_context("spawn")  # JAX's threads do not survive a fork
    pool = concurrent.futures.ProcessPoolExecutor(num_workers, mp_context=context)
    futures = {pool.submit(write_shard, shard): shard for shard in shards}
    try:
        for future in concurrent.futures.as_completed(futures):
            yield future.result()
    except concurrent.futures.process.BrokenProcessPool as error:
        left = next((shard for future, shard in futures.items() if not _is_done(shard)), None)
        near = f"; it was near {left.files[0].name}" if left else ""
        raise InputError(
            f"a worker process died{near}; run the same command again to continue, or with --workers 0 to find the "
            "cause"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after an interrupt, do not wait for the workers


def run_beam(shards: Sequence[Shard], *, runner: str, arguments: Sequence[str] = ()) -> Iterator[int]:
    """Writes shards on an Apache Beam runner, whose workers must see the same folders as this machine.

    Args:
      shards: shards to write.
      runner: name of the runner: "DirectRunner", "FlinkRunner", "SparkRunner" or "DataflowRunner".
      arguments: command-line arguments of the runner.

    Raises:
      InputError: Apache Beam is not installed.
    """
    try:
        import apache_beam as beam  # pyright: ignore
        from apache_beam.options.pipeline_options import PipelineOptions  # pyright: ignore
    except ImportError as error:
        raise InputError("--runner needs Apache Beam: pip install 'vjax[beam]'") from error
    options = PipelineOptions([*arguments], runner=runner)
    with beam.Pipeline(options=options) as pipeline:
        written = pipeline | beam.Create(list(shards)) | beam.Reshuffle()  # otherwise one worker gets all shards
        _ = written | beam.Map(write_shard)
    return iter(len(shard.files) for shard in shards)


def _read(file: VideoFile, split: str, options: Options) -> tuple[list[bytes], IndexRow]:
    """Returns the frames of a video as JPEG bytes, and its row of the index."""
    rate = decode.frame_rate(file.path)
    step = max(1.0, rate / options.fps) if options.fps else 1.0
    frames, height, width = [], 0, 0
    for frame in decode.iterate_video(file.path, step=step):
        small = shrink(frame, short_side=options.short_side)
        height, width = small.shape[:2]
        frames.append(encode_frame(small, quality=options.quality))
    if not frames:
        raise decode.VideoError(f"{file.path}: not one frame of the video decodes")
    return frames, IndexRow(file.name, file.label, split, file.group, len(frames), rate / step, height, width, "")


def _shards(files: Sequence[VideoFile], parts: Path, class_names: tuple[str, ...], options: Options) -> Iterator[Shard]:
    for split in SPLITS:
        of_split = [file for file in files if file.split == split]
        size = max(_LEAST_VIDEOS, -(-len(of_split) // _MOST_SHARDS))
        for number, start in enumerate(range(0, len(of_split), size)):
            part = parts / f"{split}-{number:05d}"
            yield Shard(split, tuple(of_split[start : start + size]), part, class_names, options)


def _claim(out: Path, plan: dict[str, Any]) -> None:
    """Records the plan in a new folder; in a folder with a plan, checks that the plan is the same."""
    known = out / PARTS_FOLDER / "plan.json"
    if (out / STORE_FILE).exists():
        raise InputError(f"{out}: holds a complete store; remove it, or give another --out")
    if known.exists():
        if read_json(known) != as_json(plan):
            raise InputError(
                f"{out}: holds an unfinished store of other videos or options; remove it, or give another --out"
            )
        return
    if out.exists() and any(path.name != PARTS_FOLDER for path in out.iterdir()):
        raise InputError(f"{out}: is not empty; give a new folder with --out")
    known.parent.mkdir(parents=True, exist_ok=True)
    write_json(known, plan)


def _fingerprint(files: Sequence[VideoFile]) -> str:
    """Returns a digest of the files' names, labels, splits, groups, sizes and modification times."""
    digest = hashlib.sha256()
    for file in files:
        found = file.path.stat() if file.path.is_file() else None
        seen = (found.st_size, found.st_mtime_ns) if found else None
        digest.update(repr((file.name, file.label, file.split, file.group, seen)).encode())
    return digest.hexdigest()


def _is_done(shard: Shard) -> bool:
    return shard.part.with_suffix(".json").exists()


def _finish(
    out: Path, shards: Sequence[Shard], splits: Sequence[str], about: dict[str, Any], missing: Sequence[IndexRow]
) -> Prepared:
    """Gives the records their final names and writes the index, the TFDS metadata and `store.json`."""
    # Collect what the shards hold; shards without a readable video are left out.
    rows, lengths, sizes = list[IndexRow](), dict[str, list[int]](), dict[str, int]()
    filled = dict[str, list[Shard]]()
    for shard in shards:
        part = read_json(shard.part.with_suffix(".json"))
        of_shard = [IndexRow(**row) for row in part["rows"]]
        rows += of_shard
        count = sum(not row.reason for row in of_shard)
        if count:
            filled.setdefault(shard.split, []).append(shard)
            lengths.setdefault(shard.split, []).append(count)
            sizes[shard.split] = sizes.get(shard.split, 0) + part["num_bytes"]
    if not filled:
        raise InputError(f"{out}: not one of {len(rows)} videos could be read; the first: {rows[0].reason}")
    # Move the files of the shards that have records.
    for split, with_records in filled.items():
        for number, shard in enumerate(with_records):
            name = f"{_DATASET}-{split}.array_record-{number:05d}-of-{len(with_records):05d}"
            for part, final in ((".array_record", name), (TABLE_ENDING, name + TABLE_ENDING)):
                written = shard.part.with_suffix(part)
                if written.exists():  # otherwise an interrupted run has moved it already
                    os.replace(written, out / final)
    # The index has the order of the listing, so that training does not depend on how the store was split.
    of_split = {split: iter([row for row in rows if row.split == split]) for split in SPLITS}
    write_index(out / INDEX_FILE, [*(next(of_split[split]) for split in splits), *missing])
    # Describe the records for TFDS.
    template = tfds.core.ShardedFileTemplate(
        data_dir=out,  # pyright: ignore
        dataset_name=_DATASET,
        filetype_suffix="array_record",
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    )
    tfds.folder_dataset.write_metadata(
        data_dir=out,
        features=video_features(about["class_names"]),
        split_infos=[
            tfds.core.SplitInfo(
                name=split, shard_lengths=lengths[split], num_bytes=sizes[split], filename_template=template
            )
            for split in filled
        ],
        filename_template=template,
        check_data=False,  # the check would read with TensorFlow
        description="Videos as JPEG frames, prepared by vjax.",
    )
    # The last file marks the store as complete.
    write_json(out / STORE_FILE, about)
    shutil.rmtree(out / PARTS_FOLDER)
    num_videos = sum(map(sum, lengths.values()))
    return Prepared(num_videos, len(rows) + len(missing) - num_videos, sum(sizes.values()))


def _text(name: str) -> str:
    """Returns a name that TFDS can store: bytes of a file name that are not UTF-8 become question marks."""
    return name.encode("utf-8", "replace").decode()
