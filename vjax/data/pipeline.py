"""Sources to host batches, with Grain: the same clips in the same order for any number of hosts and threads."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import grain
import numpy as np
from absl import flags

from vjax.data.lost import Report, all_read, raise_loss, read_clip, read_views, tell_losses
from vjax.data.transforms import Mix, TestView, TrainView
from vjax.data.video import VideoSequence
from vjax.errors import InputError

Batch = dict[str, np.ndarray]
Element = dict[str, np.ndarray | np.generic]


_UNMIXED = Mix()


@dataclasses.dataclass(frozen=True)
class Shard:
    """The part of every global batch that one process reads.

    Attributes:
      batch_size: rows of the global batch; a multiple of `count`.
      index: index of this process.
      count: number of processes.
    """

    batch_size: int
    index: int = 0
    count: int = 1

    def __post_init__(self):
        if self.batch_size % self.count:
            raise InputError(f"a batch of {self.batch_size} cannot be split over {self.count} processes evenly")

    @property
    def num_rows(self) -> int:
        """Rows of this process in every batch."""
        return self.batch_size // self.count


def train_batches(
    videos: VideoSequence,
    view: TrainView,
    shard: Shard,
    *,
    seed: int,
    start_step: int,
    num_workers: int,
    mix: Mix = _UNMIXED,
    report: Report = raise_loss,
) -> Iterator[Batch]:
    """Yields batches without end: `clips (b t h w c)` uint8, `label (b)` and `position (b)` int32.

    Every epoch is shuffled anew and batches run across its end. A clip's random numbers come from the seed and
    its position in the run alone: any step can be started at, and the batches from there on are the same.

    Where clips are mixed, a batch also has `other_label (b)` int32 and `share (b)` float32 (data/transforms.py, Mix).
    What a batch draws comes from the seed, its step and the process; partners are rows of the same process. So batches
    before mixing are the same for any number of processes, and mixed ones for the same number.

    Args:
      videos: to draw from.
      view: what is cut out of a video.
      shard: the part of the global batch that this process yields.
      seed: seed of the order of videos and of the views.
      start_step: number of batches to skip without reading them: the data position of a resumed run.
      num_workers: processes that read; 0 reads in threads of this process.
      mix: how clips of a batch are mixed; not at all if not given.
      report: hears of each position that cannot be read; the next position that can takes its place. If not given,
        such a video is an error.

    Raises:
      InputError: clips are mixed, and this process has only one row.
    """
    num_rows = shard.num_rows
    dataset = grain.MapDataset.range(len(videos)).seed(seed).shuffle().repeat().random_map(_TrainElement(videos, view))
    dataset = dataset.batch(num_rows, drop_remainder=True)
    if mix:
        if num_rows < 2:
            raise InputError(
                f"config.mix needs 2 clips or more in a process's batch, got a batch of {shard.batch_size} over "
                f"{shard.count} process(es); raise batch_size, or set mixup and cutmix to 0"
            )
        dataset = dataset.random_map(mix)  # before the slice, or processes would draw the same numbers
    # Of every global batch a process has neighbouring rows, as its devices do.
    dataset = dataset[shard.index :: shard.count]
    batches = _with_workers_named(iter(_read(dataset[start_step:], num_workers)))
    return tell_losses(batches, len(videos), report)


def test_batches(videos: VideoSequence, view: TestView, shard: Shard, *, num_workers: int) -> Iterator[Batch]:
    """Yields every video once: `clips (b n t h w c)`, `label (b)`, `mask (b)`, `position (b)`, `unread (b ...)`.

    A video that cannot be read has black clips, and the reason in `unread` (data/lost.py), which is 0 for others. The
    last global batch is filled up with rows of zeros whose mask is false.
    """
    num_rows = -(-len(videos) // shard.batch_size) * shard.batch_size
    dataset = grain.MapDataset.range(num_rows).map(_TestElement(videos, view))
    dataset = dataset.batch(shard.num_rows)[shard.index :: shard.count]
    return iter(_read(dataset, num_workers))


test_batches.__test__ = False  # pyright: ignore[reportFunctionMemberAccess]  # for pytest: no test


@dataclasses.dataclass(frozen=True)
class _TrainElement:
    videos: VideoSequence
    view: TrainView

    def __call__(self, position: int, rng: np.random.Generator) -> Element:
        clips, video, position, unread = read_clip(self.videos, position, self.view, rng)
        return {"clips": clips, "label": np.int32(video.label), "position": np.int32(position), "unread": unread}


@dataclasses.dataclass(frozen=True)
class _TestElement:
    videos: VideoSequence
    view: TestView

    def __call__(self, position: int) -> Element:
        real = position < len(self.videos)
        if real:
            video = self.videos[position]
            (clips, unread), label = read_views(video, self.view), video.label
        else:
            clips, label, unread = np.zeros(self.view.shape, np.uint8), 0, all_read()
        return {
            "clips": clips,
            "label": np.int32(label),
            "mask": np.bool_(real),
            "position": np.int32(position),
            "unread": unread,
        }


def _with_workers_named(batches: Iterator[Batch]) -> Iterator[Batch]:
    try:
        yield from batches
    except RuntimeError as error:
        if "Worker process was terminated" not in str(error):
            raise
        raise InputError(
            f"a process that reads videos has died ({str(error).splitlines()[0]}): killed from outside, or for want of "
            "memory. The same command goes on from the newest checkpoint; --config.num_workers=0 reads without workers"
        ) from error


def _read(dataset: Any, num_workers: int) -> Any:
    # Grain's default would hold 500 batches in memory.
    reading = dataset.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=4))
    if num_workers:
        if not flags.FLAGS.is_parsed():  # grain's worker processes read absl flags, and vjax has none (grain #1355)
            flags.FLAGS.mark_as_parsed()
        reading = reading.mp_prefetch(grain.MultiprocessingOptions(num_workers=num_workers))
    return reading
