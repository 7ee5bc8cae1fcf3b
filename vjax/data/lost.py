"""Videos that could be read when a run began, and cannot be any more: replaced in training, wrong in evaluation.

What is read must not depend on when a file was lost: a run keeps the list of its videos, those that are gone keep
their place in it, and a substitute follows from the seed and the place alone. So a run that is resumed sees the clips
that the uninterrupted one sees from then on. Batches carry the reasons, as bytes, out of worker processes.
"""

import csv
import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from vjax.data.decode import VideoError
from vjax.data.transforms import TestView, TrainView
from vjax.data.video import BadVideo, Source, Video, VideoSequence
from vjax.errors import InputError

TRIES = 8  # videos in a row
_REASON_BYTES = 240

Report = Callable[[int, str], None]  # hears of a position and why it cannot be read


def read_clip(
    videos: VideoSequence, position: int, view: TrainView, rng: np.random.Generator
) -> tuple[np.ndarray, Video, int, np.ndarray]:
    """Returns a clip, the video and position that it is of, and why those before it cannot be read.

    Where a video cannot be read, the next one of the split takes its place, with random numbers of its own.

    Returns:
      The clip `(t h w c)`, its video, its position, and reasons `(TRIES, ...)`, as `tell_losses` takes them; where
      nothing can be read, the clip is black.
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
    """Returns clips `(n t h w c)` and why they cannot be read, as bytes; black clips then."""
    try:
        return view(video), all_read()
    except VideoError as error:
        return np.zeros(view.shape, np.uint8), _as_bytes(error)


def all_read() -> np.ndarray:
    """Returns what stands in the place of a reason where there is none."""
    return np.zeros(_REASON_BYTES, np.uint8)


def tell_losses(
    batches: Iterator[dict[str, np.ndarray]], num_videos: int, report: Report
) -> Iterator[dict[str, np.ndarray]]:
    """Yields training batches without their reasons, which are reported.

    Raises:
      VideoError: so many videos in a row cannot be read that a clip has no substitute.
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
                raise VideoError(f"{TRIES} videos in a row cannot be read any more; the last: {reasons[-1]}")
        yield {key: rows for key, rows in batch.items() if key != "unread"}


def raise_loss(position: int, reason: str) -> None:
    """Raises a VideoError: the report of those who want no substitutes."""
    raise VideoError(reason)


def reason_of(found: np.ndarray) -> str:
    """Returns why a video could not be read, from bytes `(...)` of a batch."""
    return found.tobytes().rstrip(b"\0").decode(errors="ignore")


def _as_bytes(error: VideoError) -> np.ndarray:
    kept = str(error).encode(errors="replace")[:_REASON_BYTES].ljust(_REASON_BYTES, b"\0")
    return np.frombuffer(kept, np.uint8)


class LostVideos:
    """Those of a run: a line and a row in a table for each; too many end the run."""

    def __init__(
        self,
        source: Source,
        *,
        max_bad_share: float,
        write: Callable[[str], object],
        save: Callable[[tuple[BadVideo, ...]], None],
    ):
        """Takes those that the source has lost already.

        Args:
          source: of the run.
          max_bad_share: more unreadable videos than this share of all is an error.
          write: takes a line for people.
          save: takes all unreadable videos, whenever there are more of them.

        Raises:
          InputError: the source has lost too many.
        """
        self._source, self._share, self._write, self._save = source, max_bad_share, write, save
        self._found: dict[str, BadVideo] = {}
        self._lock = threading.Lock()  # batches are read in a thread of their own
        for bad in source.lost_videos:
            self.add(bad)

    def train(self, position: int, reason: str) -> None:
        """Takes one of the training split; see `add`."""
        self.add(BadVideo(self._source.train[position].name, "train", reason))

    def add(self, bad: BadVideo) -> None:
        """Takes a video; does nothing where it is known.

        Raises:
          InputError: they are too many.
        """
        with self._lock:
            if bad.name in self._found:
                return
            self._found[bad.name] = bad
            instead = "another one takes its place" if bad.split == "train" else "it counts as wrong"
            self._write(f"a video cannot be read any more, {instead}: {bad.reason}\n")
            all_bad = (*self._source.bad_videos, *self._found.values())
            self._save(all_bad)
            num_videos = len(self._source.train) + len(self._source.test) + len(self._source.bad_videos)
            if len(all_bad) > self._share * num_videos:
                raise InputError(
                    f"{len(all_bad)} of {num_videos} videos cannot be read, {len(self._found)} of them since the run "
                    f"began: more than max_bad_share={self._share:g}; the last: {bad.reason}. Put the files back, and "
                    "the same command goes on from the newest checkpoint"
                )


@dataclasses.dataclass(frozen=True)
class Gone:
    """Reads nothing: in the place of a video that is not there any more."""

    reason: str

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """Raises a VideoError."""
        raise VideoError(self.reason)


def write_videos(path: Path, source: Source) -> None:
    """Writes a table of `name, label, split`: the videos of a run, in their order."""
    rows = [(v.name, source.class_names[v.label], "train") for v in source.train]
    rows += [(v.name, source.class_names[v.label], "test") for v in source.test]
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        csv.writer(stream).writerows([("name", "label", "split"), *rows])


def keep_videos(path: Path, source: Source) -> Source:
    """Returns a source with the videos of the table at a path; those that it lacks are lost, new ones left out."""
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        rows = list(csv.DictReader(stream))
    there = {video.name: video for video in (*_all(source.train), *_all(source.test))}
    reasons = {bad.name: bad.reason for bad in source.bad_videos}
    splits: dict[str, list[Video]] = {"train": [], "test": []}
    lost = []
    for row in rows:
        name, label = row["name"], source.class_names.index(row["label"])
        video = there.get(name)
        if video is None:
            bad = BadVideo(name, row["split"], reasons.get(name, f"{name}: is not in the data set any more"))
            lost.append(bad)
            video = Video(name, label, 1, 25.0, Gone(bad.reason))
        splits[row["split"]].append(dataclasses.replace(video, label=label))
    kept = {row["name"] for row in rows}
    bad_videos = tuple(bad for bad in source.bad_videos if bad.name not in kept)
    return dataclasses.replace(source, **splits, bad_videos=bad_videos, lost_videos=tuple(lost))


def _all(videos: VideoSequence) -> Sequence[Video]:
    return [videos[position] for position in range(len(videos))]
