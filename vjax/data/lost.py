"""Handles lost videos, which became unreadable after the run began: replaced in training, wrong in evaluation.

The clips of a run must not depend on when a file was lost. So a run keeps the list of its videos, lost videos keep
their position in it, and a substitute depends only on the seed and the position. A resumed run therefore sees the same
clips as an uninterrupted run sees from that step on. Batches carry the reasons, as bytes, out of worker processes.
"""

import csv
import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from vjax.data.decode import VideoError
from vjax.data.splits import SPLITS
from vjax.data.transforms import TestView, TrainView
from vjax.data.video import BadVideo, Source, Video, VideoSequence
from vjax.errors import InputError
from vjax.json_files import write_csv
from vjax.text import some

TRIES = 8  # consecutive videos that are tried for one clip
_REASON_BYTES = 240

Report = Callable[[int, str], None]  # called with the position of an unreadable video and the reason


def read_clip(
    videos: VideoSequence, position: int, view: TrainView, rng: np.random.Generator
) -> tuple[np.ndarray, Video, int, np.ndarray]:
    """Reads a random clip of the video at a position, or of a substitute if that video cannot be read.

    The substitute is the next readable video of the split. It has its own random numbers.

    Returns:
      The clip `(t h w c)`, its video, the position of that video, and the reasons why earlier videos could not be read,
      as uint8 `(TRIES, ...)` for `tell_losses`. If none of `TRIES` videos can be read, the clip is black, and the video
      and position are those that were asked for.
    """
    unread = np.zeros((TRIES, _REASON_BYTES), np.uint8)
    start = rng.bit_generator.state
    for number in range(TRIES):
        place = (position + number) % len(videos)
        video = videos[place]
        try:
            return view(video, rng), video, place, unread
        except VideoError as error:
            unread[number] = _as_bytes(error)
            rng.bit_generator.state = start
            rng = np.random.Generator(rng.bit_generator.jumped(number + 1))  # pyright: ignore
    return np.zeros((view.timing.num_frames, *view.size, 3), np.uint8), videos[position], position, unread


def read_views(video: Video, view: TestView) -> tuple[np.ndarray, np.ndarray]:
    """Returns clips `(n t h w c)` and a reason as bytes; if the video cannot be read, the clips are black."""
    try:
        return view(video), all_read()
    except VideoError as error:
        return np.zeros(view.shape, np.uint8), _as_bytes(error)


def all_read() -> np.ndarray:
    """Returns the reason bytes of a video that can be read: zeros."""
    return np.zeros(_REASON_BYTES, np.uint8)


def tell_losses(
    batches: Iterator[dict[str, np.ndarray]], num_videos: int, report: Report
) -> Iterator[dict[str, np.ndarray]]:
    """Yields training batches without their `unread` reasons, after reporting these.

    Raises:
      VideoError: `TRIES` consecutive videos cannot be read, so a clip has no substitute.
    """
    for batch in batches:
        unread = batch["unread"]
        for row in np.flatnonzero(unread.any(axis=(1, 2))):
            reasons = [reason_of(found) for found in unread[row] if found.any()]
            place = int(batch["position"][row])
            first = place if len(reasons) == TRIES else place - len(reasons)
            for number, reason in enumerate(reasons):
                report((first + number) % num_videos, reason)
            if len(reasons) == TRIES:
                raise VideoError(f"{TRIES} videos in a row can no longer be read; the last: {reasons[-1]}")
        yield {key: rows for key, rows in batch.items() if key != "unread"}


def raise_loss(position: int, reason: str) -> None:
    """Raises a VideoError with the reason; a `Report` for callers that want no substitutes."""
    raise VideoError(reason)


def reason_of(found: np.ndarray) -> str:
    """Returns the reason why a video could not be read, from its bytes `(...)` in a batch."""
    return found.tobytes().rstrip(b"\0").decode(errors="ignore")


def _as_bytes(error: VideoError) -> np.ndarray:
    kept = str(error).encode(errors="replace")[:_REASON_BYTES].ljust(_REASON_BYTES, b"\0")
    return np.frombuffer(kept, np.uint8)


class LostVideos:
    """Collects the lost videos of a run: prints and saves each one, and ends the run if there are too many."""

    def __init__(
        self,
        source: Source,
        *,
        max_bad_share: float,
        write: Callable[[str], object],
        save: Callable[[tuple[BadVideo, ...]], None],
    ):
        """Adds the videos that the source has already lost.

        Args:
          source: source of the run.
          max_bad_share: largest allowed share of unreadable videos.
          write: function that prints a line of text.
          save: function that is called with all unreadable videos whenever one is added.

        Raises:
          InputError: too many videos are unreadable.
        """
        self._source, self._share, self._write, self._save = source, max_bad_share, write, save
        self._found: dict[str, BadVideo] = {}
        self._lock = threading.Lock()  # training batches are read in another thread
        for bad in source.lost_videos:
            self.add(bad)

    def train(self, position: int, reason: str) -> None:
        """Adds the video at a position of the training split; see `add`."""
        self.add(BadVideo(self._source.train[position].name, "train", reason))

    def add(self, bad: BadVideo) -> None:
        """Adds a video, unless it was added before.

        Raises:
          InputError: too many videos are unreadable.
        """
        with self._lock:
            if bad.name in self._found:
                return
            self._found[bad.name] = bad
            instead = "is replaced by another one" if bad.split == "train" else "counts as wrong"
            self._write(f"a video can no longer be read and {instead}: {bad.reason}\n")
            all_bad = (*self._source.bad_videos, *self._found.values())
            self._save(all_bad)
            num_videos = self._source.num_videos
            if len(all_bad) > self._share * num_videos:
                raise InputError(
                    f"{len(all_bad)} of {num_videos} videos cannot be read, {len(self._found)} of them since the run "
                    f"began: more than max_bad_share={self._share:g}; the last: {bad.reason}. Put the files back and "
                    "run the same command again to resume from the newest checkpoint"
                )


@dataclasses.dataclass(frozen=True)
class Gone:
    """Replaces the reader of a video that is no longer in the dataset; every read raises a VideoError."""

    reason: str

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """Raises a VideoError with the reason."""
        raise VideoError(self.reason)


def write_videos(path: Path, source: Source) -> None:
    """Writes the videos of a run, in order, as CSV: `name`, `label`, `split`, `num_frames` and `group`."""
    rows = [
        (video.name, source.class_names[video.label], split, video.num_frames, video.group)
        for split in SPLITS
        for video in _all(getattr(source, split))
    ]
    write_csv(path, [("name", "label", "split", "num_frames", "group"), *rows])


def read_num_frames(path: Path) -> dict[str, int]:
    """Returns the number of frames of each video in the table at `path`, by its name."""
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return {row["name"]: int(row["num_frames"]) for row in csv.DictReader(stream)}


def keep_videos(path: Path, source: Source) -> Source:
    """Returns a source with exactly the videos of the table at `path`, in the table's order.

    Videos of the table that the source lacks become `lost_videos`; videos that are not in the table become
    `new_videos`.
    """
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        rows = list(csv.DictReader(stream))
    # The names of a source from outside may be unique in each split only.
    of_splits = {split: {video.name: video for video in _all(getattr(source, split))} for split in SPLITS}
    there = of_splits["test"] | of_splits["val"] | of_splits["train"]
    reasons = {bad.name: bad.reason for bad in source.bad_videos}
    # A video that is missing keeps its position, with a reader that raises the reason.
    splits: dict[str, list[Video]] = {split: [] for split in SPLITS}
    lost = []
    for row in rows:
        name, label = row["name"], source.class_names.index(row["label"])
        video = of_splits[row["split"]].get(name) or there.get(name)
        if video is None:
            bad = BadVideo(name, row["split"], reasons.get(name, f"{name}: is no longer in the dataset"))
            lost.append(bad)
            video = Video(name, label, 1, 25.0, Gone(bad.reason), row.get("group", ""))  # runs once wrote no groups
        splits[row["split"]].append(dataclasses.replace(video, label=label))
    # An unreadable video that the table lists is lost, so it is not a bad video as well.
    kept = {row["name"] for row in rows}
    bad_videos = tuple(bad for bad in source.bad_videos if bad.name not in kept)
    new = tuple(name for name in there if name not in kept)
    return dataclasses.replace(source, **splits, bad_videos=bad_videos, lost_videos=tuple(lost), new_videos=new)


def describe_changes(source: Source) -> list[str]:
    """Returns a line each for the new and the lost videos of a source that `keep_videos` returned."""
    lines = []
    if source.new_videos:
        lines.append(
            f"{len(source.new_videos)} video(s) are new since the run began and are left out: {some(source.new_videos)}"
        )
    if source.lost_videos:
        names = [f"{bad.name} ({bad.split})" for bad in source.lost_videos]
        lines.append(f"{len(names)} video(s) of the run are gone or can no longer be read: {some(names)}")
    return lines


def _all(videos: VideoSequence) -> Sequence[Video]:
    return [videos[position] for position in range(len(videos))]
