"""Folds of a cross-validation: every video is tested once, by a network that saw no video of its group."""

import dataclasses
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np

from vjax.data.listing import VideoFile
from vjax.data.splits import SplitRule, group_of, split_files
from vjax.errors import InputError
from vjax.text import some

NumFolds = int | Literal["group"]
Folds = NumFolds | Literal["split"]  # "split": the split of the config alone, not a cross-validation


@dataclasses.dataclass(frozen=True)
class Fold:
    """A split of all videos.

    Attributes:
      name: what the fold tests: the name of its group, or "2 of 5".
      files: all videos with their split filled in.
    """

    name: str
    files: list[VideoFile]


def draw_folds(files: Sequence[VideoFile], *, num_folds: NumFolds, rule: SplitRule) -> list[Fold]:
    """Returns folds that keep groups together; each video is in the test split of one fold.

    A number of folds gives folds that have about as many videos of each class. A validation split is drawn from the
    training videos of each fold, as the rule says. A split that the files have is not used.

    Args:
      files: videos.
      num_folds: number of folds, or "group" for a fold for each group.
      rule: seed of the folds, and share of the validation split.

    Raises:
      InputError: there are fewer groups than folds, a fold would have no video of a class to train on, or groups are
        torn apart by the split that the files have.
    """
    _check_groups(files, num_folds)
    rule = dataclasses.replace(rule, held_out="", keep="")
    folds = []
    for name, tested in _test_groups(files, num_folds, seed=rule.seed):
        split = [dataclasses.replace(f, split="test" if group_of(f) in tested else "train") for f in files]
        _check_trained(split, name)
        split, _ = split_files(split, given=name, rule=rule)
        folds.append(Fold(name, split))
    return folds


def _test_groups(files: Sequence[VideoFile], num_folds: NumFolds, *, seed: int) -> list[tuple[str, set[str]]]:
    """Returns the name of each fold, and the groups that it tests."""
    if num_folds == "group":
        return [(group, {kept}) for group, kept in sorted({(file.group, group_of(file)) for file in files})]
    from sklearn.model_selection import StratifiedGroupKFold  # it takes a second to import

    groups, labels = np.array([group_of(file) for file in files]), np.array([file.label for file in files])
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # its videos are tested in fewer folds
        indices = [test for _, test in splitter.split(labels, labels, groups)]
    return [(f"{i} of {num_folds}", set(groups[test])) for i, test in enumerate(indices, start=1)]


def _check_groups(files: Sequence[VideoFile], num_folds: NumFolds) -> None:
    """Raises an InputError unless the files can be divided into folds."""
    if num_folds == "group" and (alone := [file.name for file in files if not file.group]):
        raise InputError(
            f"a fold for each group needs a group for each video, and these have none: {some(alone)}; set the "
            "source's option group to a regular expression that finds them in the paths, or give a manifest with a "
            "column group"
        )
    groups, sizes = defaultdict(list), Counter(file.label for file in files)
    for file in files:
        groups[group_of(file)].append(file)
    if len(groups) < 2 or len(sizes) < 2:
        what, kind = "no video can be read", "classes"
        if len(sizes) == 1:
            what = f"all {len(files)} videos are of one class, {files[0].label!r}"
        elif files:
            what, kind = f"all {len(files)} videos are of one group, {files[0].group!r}", "groups"
        raise InputError(f"no folds can be made: {what}; add videos of other {kind}")
    if num_folds != "group" and num_folds < 2:
        raise InputError(f"a cross-validation needs 2 folds or more, got {num_folds}")
    if num_folds != "group" and num_folds > len(groups):
        kind = "groups" if any(file.group for file in files) else "videos"
        raise InputError(
            f"{num_folds} folds need as many {kind} or more, and there are {len(groups)}; ask for {len(groups)} folds "
            "or fewer"
        )
    if num_folds != "group" and num_folds > max(sizes.values()):
        raise InputError(
            f"{num_folds} folds need a class with as many videos, and the largest has {max(sizes.values())}; ask for "
            f"{max(sizes.values())} folds or fewer"
        )
    # A class in one group is never both trained on and tested.
    classes = defaultdict(list)
    for file in files:
        classes[file.label].append(file)
    for label, inside in sorted(classes.items()):
        if len({group_of(file) for file in inside}) == 1:
            only = f"group {inside[0].group!r}" if inside[0].group else f"video {inside[0].name!r}"
            raise InputError(
                f"all of class {label!r} is in {only}, so the fold that tests it has none of the class to train on; "
                "add videos of the class in other groups, or leave the class out"
            )
    # Groups and a given split must agree.
    for group, inside in groups.items():
        splits = {file.split for file in inside} - {""}
        if len(splits) > 1:
            raise InputError(
                f"{group} has videos in {' and '.join(sorted(splits))} of the given split, so the groups and the split "
                "contradict each other; correct one of them"
            )


def _check_trained(split: Sequence[VideoFile], name: str) -> None:
    """Raises an InputError if a fold tests no video, or all videos of a class."""
    counts = Counter(file.split for file in split)
    trained = {file.label for file in split if file.split == "train"}
    lacking = sorted({file.label for file in split} - trained)
    if lacking or not counts["test"]:
        what = f"tests all videos of class {lacking[0]!r}" if lacking else "tests no video"
        raise InputError(
            f"fold {name} {what}, because the groups are few and uneven; ask for another number of folds, for a fold "
            "for each group, or for other draws with config.seed"
        )
