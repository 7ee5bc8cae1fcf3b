"""Reads batches from sources with Grain: the same clips in the same order for any number of hosts and threads."""

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
      batch_size: number of rows in the global batch; a multiple of `count`.
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
        """The number of rows that this process reads of every global batch."""
        return self.batch_size // self.count


@dataclasses.dataclass(frozen=True)
class Order:
    """The order in which training videos are drawn.

    Attributes:
      seed: seed of the order, of the views and of mixing.
      classes: positions of each class, to draw all classes equally often, and the videos of a class at random; empty
        to draw every video once in each epoch.
    """

    seed: int
    classes: tuple[tuple[int, ...], ...] = ()


def train_batches(
    videos: VideoSequence,
    view: TrainView,
    shard: Shard,
    *,
    order: Order,
    start_step: int,
    num_workers: int,
    mix: Mix = _UNMIXED,
    report: Report = raise_loss,
) -> Iterator[Batch]:
    """Yields batches without end: `clips (b t h w c)` uint8, `label (b)` and `position (b)` int32.

    Every epoch is shuffled differently, and batches may cross the end of an epoch. The random numbers of a clip depend
    only on the seed and its position in the run, so the batches do not depend on the step at which reading starts.

    With `mix`, a batch also has `other_label (b)` int32 and `share (b)` float32 (data/transforms.py, Mix). The random
    numbers of mixing depend on the seed, the step and the process, and partners are rows of the same process. So
    unmixed batches are the same for any number of processes, mixed batches only for the same number.

    Args:
      videos: videos to draw from.
      view: random view that makes a clip of a video.
      shard: the part of the global batch that this process yields.
      order: order of the videos, and the seed of all random numbers.
      start_step: number of batches to skip without reading them; this is where a resumed run continues.
      num_workers: number of worker processes that read; 0 reads in threads of this process.
      mix: mixing of the clips of a batch; the default does not mix.
      report: function that is called with each unreadable position and the reason; the next readable video is the
        substitute. The default raises a VideoError instead.

    Raises:
      InputError: `mix` is set and this process has only one row of a batch; or, while iterating, a worker process died.
      VideoError: while iterating, so many videos in a row are unreadable that a clip has no substitute.
    """
    # Random clips in random order, epoch after epoch, in batches of one process.
    num_rows, num_classes = shard.num_rows, len(order.classes)
    length = -(-len(videos) // num_classes) * num_classes if num_classes else len(videos)
    element = _TrainElement(videos, view, order.classes)
    dataset = grain.MapDataset.range(length).seed(order.seed).shuffle().repeat().random_map(element)
    dataset = dataset.batch(num_rows, drop_remainder=True)
    if mix:
        if num_rows < 2:
            raise InputError(
                f"config.mix needs 2 clips or more in a process's batch, got a batch of {shard.batch_size} over "
                f"{shard.count} process(es); raise batch_size, or set mixup and cutmix to 0"
            )
        dataset = dataset.random_map(mix)  # before the slice, or all processes would draw the same numbers
    # A process reads adjacent rows of every global batch, in the order of its devices.
    dataset = dataset[shard.index :: shard.count]
    batches = _with_workers_named(iter(_read(dataset[start_step:], num_workers)))
    return tell_losses(batches, len(videos), report)


def test_batches(videos: VideoSequence, view: TestView, shard: Shard, *, num_workers: int) -> Iterator[Batch]:
    """Yields every video once: `clips (b n t h w c)`, `label (b)`, `mask (b)`, `position (b)`, `unread (b ...)`.

    A video that cannot be read has black clips and the reason in `unread` (data/lost.py), which is 0 for other videos.
    The last global batch is padded with rows of black clips, whose mask is false.
    """
    num_rows = -(-len(videos) // shard.batch_size) * shard.batch_size
    dataset = grain.MapDataset.range(num_rows).map(_TestElement(videos, view))
    dataset = dataset.batch(shard.num_rows)[shard.index :: shard.count]
    return _with_workers_named(iter(_read(dataset, num_workers)))


test_batches.__test__ = False  # pyright: ignore[reportFunctionMemberAccess]  # for pytest: not a test


@dataclasses.dataclass(frozen=True)
class _TrainElement:
    videos: VideoSequence
    view: TrainView
    classes: tuple[tuple[int, ...], ...]

    def __call__(self, position: int, rng: np.random.Generator) -> Element:
        if self.classes:
            # Each class has equally many numbers; which of its videos a number stands for is drawn anew each time.
            position = int(rng.choice(self.classes[position % len(self.classes)]))
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
            f"a process that reads videos has died ({str(error).splitlines()[0]}): it was killed from outside or ran "
            "out of memory. Run the same command again to resume from the newest checkpoint; --config.num_workers=0 "
            "reads without workers"
        ) from error


def _read(dataset: Any, num_workers: int) -> Any:
    # Grain's default buffer would keep 500 batches in memory.
    reading = dataset.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=4))
    if num_workers:
        if not flags.FLAGS.is_parsed():  # Grain's workers read absl flags, which vjax does not use (grain #1355)
            flags.FLAGS.mark_as_parsed()
        reading = reading.mp_prefetch(grain.MultiprocessingOptions(num_workers=num_workers))
    return reading
