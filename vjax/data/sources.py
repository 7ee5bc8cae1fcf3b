"""Sources by name: generated videos, and real videos from files, archives, prepared stores and TFDS."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from vjax import typed
from vjax.data.datasets import hmdb51, kinetics, moving_shapes, something_something, ucf101, weizmann
from vjax.data.datasets.tfds_videos import open_tfds
from vjax.data.files import open_files, probe_all
from vjax.data.groups import with_proposed_groups
from vjax.data.listing import AUTO_GROUPS, Listing, VideoFile, check_listing, list_videos
from vjax.data.splits import SplitRule
from vjax.data.store import is_store, open_store, read_store_files
from vjax.data.video import BadVideo, FileReader, Source, Video
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
    val_share: float = 0.0,
    keep_split: str = "",
    max_bad_share: float = 0.1,
    advance: Advance = show_nothing,
) -> Source:
    """Opens a source from `SOURCES`; the `root` of a listing may also be a store that `vjax prepare` wrote.

    Args:
      choice: name and options of the source, or a mapping `dict(name=..., ...)`.
      seed: seed of the random split, which is used if no split is given.
      held_out: comma-separated groups that form the test split; empty for the given or random split.
      test_share: share of each class that a random split puts into test.
      val_share: share of each class that is drawn for validation if no validation split is given; 0 for none.
      keep_split: work directory of another run, or table of splits, whose split is kept; empty for none.
      max_bad_share: largest allowed share of unreadable videos.
      advance: progress callback; gets the number of indexed videos and the number of all videos.

    Raises:
      InputError: the options are invalid, the videos are missing or inconsistent, or too many of them are unreadable.
    """
    choice = typed.conform_choice(choice, SOURCES, what="config.source")
    rule = SplitRule(seed, held_out, test_share, val_share, keep_split)
    if choice.name not in LISTINGS:
        return SOURCES.create(choice, rule=rule)
    root = choice.options["root"]
    if is_store(root):
        return open_store(root, typed.as_mapping(choice), rule=rule, max_bad_share=max_bad_share)
    listing = list_dataset(choice, advance=advance)
    return open_files(listing, root=root, rule=rule, max_bad_share=max_bad_share, advance=advance)


def list_dataset(choice: Choice, *, advance: Advance = show_nothing) -> Listing:
    """Returns the videos of a choice from `LISTINGS`; with the option group="auto", their groups are proposed.

    Args:
      choice: name and options of the source.
      advance: progress callback; gets the number of indexed videos and the number of all videos.

    Raises:
      InputError: the options are invalid, or the videos are missing.
    """
    listing = LISTINGS.create(choice)
    if choice.options.get("group") != AUTO_GROUPS:
        return listing
    found, _ = probe_all(listing.files, root=choice.options["root"], advance=advance)
    videos = [Video(file.name, 0, info.num_frames, info.fps, FileReader(file.path, info.seeks)) for file, info in found]
    grouped = with_proposed_groups([file for file, _ in found], videos)
    group_of = {file.path: file.group for file in grouped}
    files = [dataclasses.replace(file, group=group_of.get(file.path, file.group)) for file in listing.files]
    return dataclasses.replace(listing, files=tuple(files))


def list_files(choice: Choice, *, advance: Advance = show_nothing) -> Sequence[VideoFile] | None:
    """Returns the videos of a source without opening them; None if the source has no list of videos.

    Args:
      choice: name and options of the source.
      advance: progress callback of proposed groups, which need to open the videos.

    Raises:
      InputError: the options are invalid, or the videos are missing or inconsistent.
    """
    choice = typed.conform_choice(choice, SOURCES, what="config.source")
    if choice.name not in LISTINGS:
        return None
    root = choice.options["root"]
    if is_store(root):
        return read_store_files(root, choice.options.get("group", ""))[0]
    listing = list_dataset(choice, advance=advance)
    check_listing(listing)
    return listing.files


def list_readable(choice: Choice, *, advance: Advance = show_nothing) -> tuple[list[VideoFile], list[BadVideo]] | None:
    """Returns the videos of a source that can be read, and the others; None if the source has no list of videos.

    Args:
      choice: name and options of the source.
      advance: progress callback; gets the number of indexed videos and the number of all videos.

    Raises:
      InputError: the options are invalid, or the videos are missing or inconsistent.
    """
    choice = typed.conform_choice(choice, SOURCES, what="config.source")
    root = choice.options.get("root", "")
    if choice.name in LISTINGS and is_store(root):
        pairs = list(zip(*read_store_files(root, choice.options.get("group", "")), strict=True))
        bad = [BadVideo(row.name, file.split, row.reason) for file, row in pairs if row.reason]
        return [file for file, row in pairs if not row.reason], bad
    files = list_files(choice, advance=advance)
    if files is None:
        return None
    found, bad = probe_all(files, root=root, advance=advance)
    return [file for file, _ in found], bad


def open_moving_shapes(
    *,
    rule: SplitRule,
    data_dir: str,
    label: str = "motion",
    num_train: int = 2000,
    num_test: int = 400,
    num_val: int = 0,
    size: int = 40,
    data_seed: int = 0,
) -> Source:
    """Opens the generated dataset `moving_shapes`; the first call writes it under `data_dir`.

    Args:
      rule: must hold out no groups; each split is generated with other random numbers, the same in every run.
      data_dir: folder of the dataset.
      label: property that is the class: "motion", "shape", or "both".
      num_train: number of training videos.
      num_test: number of test videos.
      num_val: number of validation videos; 0 for no validation split.
      size: side of the square frames in pixels.
      data_seed: seed of the generated videos.
    """
    rule.check_nothing_held_out("moving_shapes")
    options = moving_shapes.Options(label, num_train, num_test, num_val, size, data_seed)
    builder = moving_shapes.prepare(options, data_dir=data_dir)
    return Source(
        class_names=tuple(options.class_names),
        train=moving_shapes.open_split(builder, "train"),
        test=moving_shapes.open_split(builder, "test"),
        split="generated with other random numbers",
        val=moving_shapes.open_split(builder, "val") if num_val else (),
    )


# All sources. A source that is not a listing is a function of a `rule` for its splits and of its options that returns
# a `Source`. Sources from outside this package are added here.
SOURCES: Table[Any] = Table(LISTINGS | {"moving_shapes": open_moving_shapes, "tfds": open_tfds}, given=("rule",))
