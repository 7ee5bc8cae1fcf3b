"""Sources by name: generated videos, and real videos from files, archives, prepared stores and TFDS."""

from collections.abc import Mapping
from typing import Any

from vjax import typed
from vjax.data.datasets import hmdb51, kinetics, moving_shapes, something_something, ucf101, weizmann
from vjax.data.datasets.tfds_videos import open_tfds
from vjax.data.files import open_files
from vjax.data.listing import Listing, list_videos
from vjax.data.store import is_store, open_store, read_store_files
from vjax.data.video import Source
from vjax.errors import InputError
from vjax.spec import Choice, Table
from vjax.text import Advance, show_nothing

# Datasets of video files: each function maps the options to the files with their labels and splits.
LISTINGS: Table[Listing] = Table(
    {
        "videos": list_videos,
        "hmdb51": hmdb51.list_videos,
        "kinetics": kinetics.list_videos,
        "something_something": something_something.list_videos,
        "ucf101": ucf101.list_videos,
        "weizmann": weizmann.list_videos,
    },
)


def open_source(
    choice: Choice | Mapping[str, Any],
    *,
    seed: int,
    held_out: str = "",
    test_share: float = 0.2,
    max_bad_share: float = 0.1,
    advance: Advance = show_nothing,
) -> Source:
    """Opens a source from `SOURCES`; the `root` of a listing may also be a store that `vjax prepare` wrote.

    Args:
      choice: name and options of the source, or a mapping `dict(name=..., ...)`.
      seed: seed of the random split, which is used if no split is given.
      held_out: comma-separated groups that form the test split; empty for the given or random split.
      test_share: share of each class that a random split puts into test.
      max_bad_share: largest allowed share of unreadable videos.
      advance: progress callback; gets the number of indexed videos and the number of all videos.

    Raises:
      InputError: the options are invalid, the videos are missing or inconsistent, or too many of them are unreadable.
    """
    choice = typed.conform_choice(choice, SOURCES, what="config.source")
    if not 0 < test_share < 1:
        raise InputError(f"config.test_share must lie in (0, 1), got {test_share}")
    if choice.name not in LISTINGS:
        return SOURCES.create(choice, seed=seed, held_out=held_out)
    how: dict[str, Any] = {
        "seed": seed,
        "held_out": held_out,
        "test_share": test_share,
        "max_bad_share": max_bad_share,
    }
    root = choice.options["root"]
    if is_store(root):
        return open_store(root, typed.as_mapping(choice), **how)
    return open_files(LISTINGS.create(choice), root=root, advance=advance, **how)


def list_names(choice: Choice) -> set[str] | None:
    """Returns the names of a source's videos without opening them; None if the source has no list of names."""
    choice = typed.conform_choice(choice, SOURCES, what="config.source")
    if choice.name not in LISTINGS:
        return None
    root = choice.options["root"]
    if is_store(root):
        return {file.name for file in read_store_files(root, "")[0]}
    return {file.name for file in LISTINGS.create(choice).files}


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
    """Opens the generated dataset `moving_shapes`; the first call writes it under `data_dir`.

    Args:
      seed: unused; the dataset is the same in every run.
      held_out: must be empty; the test split is generated with other random numbers.
      data_dir: folder of the dataset.
      label: property that is the class: "motion", "shape", or "both".
      num_train: number of training videos.
      num_test: number of test videos.
      size: side of the square frames in pixels.
      data_seed: seed of the generated videos.
    """
    del seed
    if held_out:
        raise InputError(f"moving_shapes has no groups to hold out, got held_out={held_out!r}")
    options = moving_shapes.Options(label, num_train, num_test, size, data_seed)
    builder = moving_shapes.prepare(options, data_dir=data_dir)
    train, test = (moving_shapes.open_split(builder, split) for split in ("train", "test"))
    return Source(
        class_names=tuple(options.class_names),
        train=train,
        test=test,
        split="generated with other random numbers",
    )


# All sources. A source that is not a listing is a function of `seed`, `held_out` and its options that returns a
# `Source`. Sources from outside this package are added here.
SOURCES: Table[Any] = Table(
    LISTINGS | {"moving_shapes": open_moving_shapes, "tfds": open_tfds}, given=("seed", "held_out")
)
