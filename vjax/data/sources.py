"""Sources by name: made videos, and real ones in a folder or a manifest."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from vjax import spec
from vjax.data.datasets import moving_shapes
from vjax.data.files import open_videos
from vjax.data.video import Source, Video
from vjax.errors import InputError


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


SOURCES: dict[str, Callable[..., Source]] = {"moving_shapes": open_moving_shapes, "videos": open_videos}
