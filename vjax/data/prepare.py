"""Videos to a prepared store: every file decoded once, its frames kept small and each by itself.

The unit of work is a shard: some videos, one ArrayRecord file, and beside it a JSON file that says what is in it and
is written after it. So workers share nothing, a killed `prepare` goes on with the shards that are missing, and the
same function runs in this process, in others, or on the machines of a Beam runner. The store takes its final names
only when every shard is there, and its `store.json` last.
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
from vjax.data.listing import Listing, VideoFile
from vjax.data.records import encode_record, video_features
from vjax.data.splits import split_files
from vjax.data.store import INDEX_FILE, PARTS_FOLDER, STORE_FILE, IndexRow, write_index
from vjax.data.threads import interruptible
from vjax.errors import InputError
from vjax.json_files import as_json, read_json, write_json
from vjax.ops.frames import shrink
from vjax.spec import Choice

_DATASET = "videos"
_LEAST_VIDEOS = 8  # of a shard: enough to be worth a file
_MOST_SHARDS = 512  # of a split: every one of them is an open file while it is read
_RECORDS = "group_size:1,uncompressed"  # JPEG does not get smaller, and decompression would read it twice


@dataclasses.dataclass(frozen=True)
class Options:
    """How frames are kept.

    Attributes:
      short_side: pixels of a frame's shorter side; smaller frames stay as they are.
      fps: frames per second to keep; None, or more than a video has, keeps all.
      quality: of JPEG, 1 to 100.
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
            raise InputError(f"--quality is from 1 to 100, got {self.quality}")


@dataclasses.dataclass(frozen=True)
class Shard:
    """A unit of work.

    Attributes:
      split: "train" or "test".
      files: its videos.
      part: where its records go, `parts/train-00003`, without an ending.
      class_names: of the whole data set.
      options: how frames are kept.
    """

    split: str
    files: tuple[VideoFile, ...]
    part: Path
    class_names: tuple[str, ...]
    options: Options


Runner = Callable[[Sequence[Shard]], Iterable[int]]  # writes shards; yields the number of videos of each one done


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What became of the videos.

    Attributes:
      num_videos: in the store.
      num_bad: left out.
      num_bytes: of all records.
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
    advance: Callable[[int, int], None],
    test_share: float = 0.2,
    seed: int = 0,
) -> Prepared:
    """Writes a store, or the rest of one that was cut off.

    Args:
      listing: the videos.
      source: the choice that the listing was made from, to be kept with the store.
      out: folder of the store; must not hold anything else.
      options: how frames are kept.
      run: writes shards (`run_here`, `run_in_processes`, `run_beam`).
      advance: hears of the number of videos done, and of all.
      test_share: share of each class that a random split puts into test.
      seed: draws a random split.

    Raises:
      InputError: the folder holds something else, or not one video could be read.
    """
    out = Path(out).expanduser()
    files, split_words = split_files(listing.files, held_out="", test_share=test_share, seed=seed)
    class_names = name_classes(files)
    parts = out / PARTS_FOLDER
    prepared_from = typed.as_plain(source)
    _claim(out, {"source": prepared_from, "options": dataclasses.asdict(options), "files": _fingerprint(files)})
    shards = list(_shards(files, parts, class_names, options))
    done = sum(len(shard.files) for shard in shards if _is_done(shard))
    advance(done, len(files))
    for count in run([shard for shard in shards if not _is_done(shard)]):
        done += count
        advance(done, len(files))
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
    writer.close()
    os.replace(half, records)
    write_table(records, shard.part.with_suffix(TABLE_ENDING))
    write_json(shard.part.with_suffix(".json"), {"rows": list(map(dataclasses.asdict, rows)), "num_bytes": num_bytes})
    return len(shard.files)


def run_here(shards: Sequence[Shard]) -> Iterator[int]:
    """Writes shards one after the other."""
    return (interruptible(functools.partial(write_shard, shard)) for shard in shards)


def run_in_processes(shards: Sequence[Shard], *, num_workers: int) -> Iterator[int]:
    """Writes shards in processes of their own.

    Raises:
      InputError: a process died, for want of memory or in a decoder; the shards that are done stay done.
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
            f"a worker process died{near}; the same command goes on, --workers 0 shows where it dies"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # one that is interrupted does not wait for its workers


def run_beam(shards: Sequence[Shard], *, runner: str, arguments: Sequence[str] = ()) -> Iterator[int]:
    """Writes shards on an Apache Beam runner, whose workers must see the same folders as this machine.

    Args:
      shards: to be written.
      runner: "DirectRunner", "FlinkRunner", "SparkRunner", "DataflowRunner".
      arguments: for the runner, as on its command line.
    """
    try:
        import apache_beam as beam  # pyright: ignore
        from apache_beam.options.pipeline_options import PipelineOptions  # pyright: ignore
    except ImportError as error:
        raise InputError("--runner needs Apache Beam: pip install 'vjax[beam]'") from error
    options = PipelineOptions([*arguments], runner=runner)
    with beam.Pipeline(options=options) as pipeline:
        written = pipeline | beam.Create(list(shards)) | beam.Reshuffle()  # or one worker would get them all
        _ = written | beam.Map(write_shard)
    return iter(len(shard.files) for shard in shards)


def _read(file: VideoFile, split: str, options: Options) -> tuple[list[bytes], IndexRow]:
    """Returns a video's frames as they are kept, and its line in the index."""
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
    for split in ("train", "test"):
        of_split = [file for file in files if file.split == split]
        size = max(_LEAST_VIDEOS, -(-len(of_split) // _MOST_SHARDS))
        for number, start in enumerate(range(0, len(of_split), size)):
            part = parts / f"{split}-{number:05d}"
            yield Shard(split, tuple(of_split[start : start + size]), part, class_names, options)


def _claim(out: Path, plan: dict[str, Any]) -> None:
    """Takes a folder for a plan, or finds that it was taken for the same one."""
    known = out / PARTS_FOLDER / "plan.json"
    if (out / STORE_FILE).exists():
        raise InputError(f"{out}: holds a whole store; remove it, or give another --out")
    if known.exists():
        if read_json(known) != as_json(plan):
            raise InputError(
                f"{out}: holds the beginning of a store of other videos or options; remove it, or give another --out"
            )
        return
    if out.exists() and any(path.name != PARTS_FOLDER for path in out.iterdir()):
        raise InputError(f"{out}: is not empty; give a new folder with --out")
    known.parent.mkdir(parents=True, exist_ok=True)
    write_json(known, plan)


def _fingerprint(files: Sequence[VideoFile]) -> str:
    """Returns a digest of the files' names, labels, splits, sizes and times of change."""
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
    """Gives the shards their final names and writes what makes the folder a data set."""
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
    for split, with_records in filled.items():
        for number, shard in enumerate(with_records):
            name = f"{_DATASET}-{split}.array_record-{number:05d}-of-{len(with_records):05d}"
            for part, final in ((".array_record", name), (TABLE_ENDING, name + TABLE_ENDING)):
                written = shard.part.with_suffix(part)
                if written.exists():  # or an earlier run was cut off right here
                    os.replace(written, out / final)
    # In the order of the listing, whatever the split: then training does not depend on how the store was split.
    of_split = {split: iter([row for row in rows if row.split == split]) for split in ("train", "test")}
    write_index(out / INDEX_FILE, [*(next(of_split[split]) for split in splits), *missing])
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
        check_data=False,  # which would read with TensorFlow
        description="Videos as JPEG frames, prepared by vjax.",
    )
    write_json(out / STORE_FILE, about)
    shutil.rmtree(out / PARTS_FOLDER)
    num_videos = sum(map(sum, lengths.values()))
    return Prepared(num_videos, len(rows) + len(missing) - num_videos, sum(sizes.values()))


def _text(name: str) -> str:
    """Returns a name as TFDS keeps it: bytes of a file name that are not UTF-8 become question marks."""
    return name.encode("utf-8", "replace").decode()
