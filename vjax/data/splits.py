"""Splits videos into train and test: by held-out groups, by a given split, or at random with groups kept together."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from vjax import spec
from vjax.data.listing import VideoFile
from vjax.errors import InputError

_RANDOM = "random"


def split_files(
    files: Sequence[VideoFile], *, given: str, held_out: str, test_share: float, seed: int
) -> tuple[list[VideoFile], str]:
    """Returns the files with their split filled in, and a description of the split in words.

    If `held_out` names groups, they are the test split. Otherwise a given split is kept. Otherwise groups are drawn at
    random until about `test_share` of every class is in test.

    Args:
      files: videos; if each has a split, that split is given.
      given: description of a given split.
      held_out: comma-separated groups.
      test_share: share of each class that a random split puts into test.
      seed: seed of the random split.

    Raises:
      InputError: no video is of a group to hold out, or all videos are of one group.
    """
    if held_out:
        wanted = [name.strip() for name in held_out.split(",")]
        if not any(file.group for file in files):
            raise InputError(
                f"held_out={held_out!r}: the videos have no groups; set the source's option group to a regular "
                "expression that finds them in the paths, or give a manifest with a column group"
            )
        spec.check_names(wanted, sorted({file.group for file in files} - {""}), what="held_out group")
        split = [dataclasses.replace(f, split="test" if f.group in wanted else "train") for f in files]
        return split, f"held out: {', '.join(wanted)}"
    if all(file.split for file in files):
        return list(files), given
    test_groups = _draw_test_groups(files, test_share=test_share, seed=seed)
    split = [dataclasses.replace(f, split="test" if _group_of(f) in test_groups else "train") for f in files]
    groups = "groups kept together" if any(file.group for file in files) else "without groups"
    return split, f"{_RANDOM}, {test_share:.0%} of each class, {groups}, seed {seed}"


def is_random(split: str) -> bool:
    """Tells whether the description of a split is that of a random one."""
    return split.startswith(_RANDOM)


def _draw_test_groups(files: Sequence[VideoFile], *, test_share: float, seed: int) -> set[str]:
    """Returns the groups of the test split.

    In random order, a group is taken if its classes still need at least half of its videos in test. A group that is
    the last one of a class in train is not taken.
    """
    # Count the videos of each group by class.
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for file in files:
        groups[_group_of(file)][file.label] += 1
    if len(groups) == 1:
        raise InputError(
            f"no split can be made: all {len(files)} videos are of one group; add others, or give a split in a manifest"
        )
    # For each class: the videos that it still needs in test (`wanted`), and its groups that remain in train (`left`).
    wanted = {label: max(1, round(test_share * count)) for label, count in Counter(f.label for f in files).items()}
    names = sorted(groups)
    np.random.default_rng(seed).shuffle(names)
    chosen: set[str] = set()
    tested: set[str] = set()
    left = Counter(label for counts in groups.values() for label in counts)
    # First pass: groups that fit the share. Second pass, for classes without a test video: the smallest other groups.
    for fitting, order in ((True, names), (False, sorted(names, key=lambda name: groups[name].total()))):
        for name in order:
            counts = groups[name]
            useful = sum(min(count, wanted[label]) for label, count in counts.items())
            fits = 2 * useful >= counts.total() if fitting else not counts.keys() <= tested
            if name in chosen or not fits or any(left[label] == 1 for label in counts):
                continue
            chosen.add(name)
            tested |= counts.keys()
            left -= Counter(counts.keys())
            for label, count in counts.items():
                wanted[label] = max(0, wanted[label] - count)
    # If no group can be taken, the smallest one is closest to the share.
    return chosen or {min(names, key=lambda name: groups[name].total())}


def _group_of(file: VideoFile) -> str:
    # The prefix distinguishes a video without a group from a group of the same name.
    return f"group {file.group}" if file.group else f"video {file.name}"
