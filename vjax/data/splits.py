"""Splits videos into train, val and test: by held-out groups, as given, as in another run, or at random by groups."""

import csv
import dataclasses
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from vjax import spec
from vjax.data.listing import VideoFile
from vjax.errors import InputError

SPLITS: tuple[str, ...] = ("train", "val", "test")
SPLIT_FILE = "split.csv"  # in the work directory of a run
_RANDOM = "random"
_KEPT = "as in "


@dataclasses.dataclass(frozen=True)
class SplitRule:
    """How videos are split where the dataset does not give a split.

    A validation split serves choices, such as that of the best checkpoint; the result is that of the test split.

    Attributes:
      seed: seed of the random draws.
      held_out: comma-separated groups that form the test split; empty for the given split or a random one.
      test_share: share of each class that a random test split gets.
      val_share: share of each class that a random validation split gets; 0 for none.
      keep: work directory of another run, or CSV file with the columns `name` (or `path`) and `split`, whose split is
        kept; empty for none.
    """

    seed: int = 0
    held_out: str = ""
    test_share: float = 0.2
    val_share: float = 0.0
    keep: str = ""

    def __post_init__(self):
        if not 0 < self.test_share < 1:
            raise InputError(f"config.test_share must lie in (0, 1), got {self.test_share}")
        if not 0 <= self.val_share < 1 - self.test_share:
            raise InputError(
                f"config.val_share must be 0 or more, and below 1 - test_share = {1 - self.test_share:g}; got "
                f"{self.val_share}"
            )
        if self.keep and self.held_out:
            raise InputError(
                f"config.keep_split and config.held_out both say which videos are tested; got {self.keep!r} and "
                f"{self.held_out!r}; set one of them to an empty text"
            )

    @property
    def held_out_groups(self) -> list[str]:
        """Names of the groups that form the test split."""
        return [name.strip() for name in self.held_out.split(",")]

    def check_nothing_held_out(self, what: str) -> None:
        """Raises an InputError if groups are held out, or a split is kept, of a dataset that has its own splits."""
        if self.held_out:
            raise InputError(f"{what} has no groups to hold out, got held_out={self.held_out!r}")
        if self.keep:
            raise InputError(f"{what} has its own splits, so there is no other to keep; got keep_split={self.keep!r}")


def split_files(files: Sequence[VideoFile], *, given: str, rule: SplitRule) -> tuple[list[VideoFile], str]:
    """Returns the files with their split filled in, and a description of the split in words.

    The first of these that applies gives the split: `rule.keep`, `rule.held_out`, the files' own, a random one. Without
    a validation split, one is then drawn from the training videos. Random draws keep the videos of a group together.
    They take the groups in the order of a hash of seed and group, so that other videos hardly change them.

    Args:
      files: videos; if each has a split, that split is given.
      given: description of a given split.
      rule: how the videos are split.

    Raises:
      InputError: no video is of a group to hold out or of the split to keep, or all videos are of one group.
    """
    if rule.keep:
        split, num_new = _keep(files, rule)
        new = f", {num_new} new videos by a hash of their groups" if num_new else ""
        return split, f"{_KEPT}{rule.keep}{new}"
    words = []
    if rule.held_out:
        split = _hold_out(files, rule.held_out_groups)
        words.append(f"held out: {', '.join(rule.held_out_groups)}")
    elif all(file.split for file in files):
        split = list(files)
        words.append(given)
    else:
        test_groups = _draw_test_groups(files, rule)
        split = [dataclasses.replace(f, split="test" if group_of(f) in test_groups else "train") for f in files]
        words.append(f"{_RANDOM}, {rule.test_share:.0%} of each class")
    # A validation split, unless there is one or the classes are too small for one.
    if rule.val_share and not any(file.split == "val" for file in split):
        val_groups = _draw_val_groups(split, rule)
        split = [
            dataclasses.replace(f, split="val") if f.split == "train" and group_of(f) in val_groups else f
            for f in split
        ]
        if val_groups:
            words.append(f"validation split {_RANDOM}, {rule.val_share:.0%} of each class")
    if any(_RANDOM in found for found in words):
        groups = "groups kept together" if any(file.group for file in files) else "without groups"
        words.append(f"{groups}, seed {rule.seed}")
    return split, "; ".join(words)


def is_drawn(split: str) -> bool:
    """Tells whether the description of a split is that of one that vjax drew, in this run or in another."""
    return split.startswith((_RANDOM, _KEPT))


def without_place(text: str, kept: str) -> str:
    """Returns a text about a split with the name of the split that was kept, and not the folder it lies in."""
    return text.replace(kept, Path(kept).name) if kept else text


def read_splits(path: Path) -> dict[str, str]:
    """Returns the split of each video in a CSV file with the columns `name` (or `path`) and `split`, by its name.

    A path is relative to the file's folder, so the result also has its absolute form.

    Raises:
      InputError: the file does not exist, a column is missing, or a split has another name than `SPLITS`.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a table of splits: {error.strerror}") from error
    columns = rows[0].keys() if rows else set[str]()
    name = "name" if "name" in columns else "path"
    if not {name, "split"} <= columns:
        raise InputError(f"{path}: a table of splits has the columns name (or path) and split")
    splits = {row[name] or "": row["split"] or "" for row in rows}
    if name == "path":
        splits |= {os.path.abspath(path.parent / found): split for found, split in splits.items()}
    spec.check_names(sorted(set(splits.values())), SPLITS, what=f"{path}: split")
    return splits


def count_videos(path: Path) -> Counter[tuple[str, str]]:
    """Returns the number of videos of each label and split in the `split.csv` of a run."""
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return Counter((row["label"], row["split"]) for row in csv.DictReader(stream))


def _hold_out(files: Sequence[VideoFile], wanted: Sequence[str]) -> list[VideoFile]:
    """Returns the files, those of the wanted groups in test and all others in train."""
    if not any(file.group for file in files):
        raise InputError(
            f"held_out={','.join(wanted)!r}: the videos have no groups; set the source's option group to a regular "
            "expression that finds them in the paths, or give a manifest with a column group"
        )
    spec.check_names(wanted, sorted({file.group for file in files} - {""}), what="held_out group")
    return [dataclasses.replace(file, split="test" if file.group in wanted else "train") for file in files]


def _keep(files: Sequence[VideoFile], rule: SplitRule) -> tuple[list[VideoFile], int]:
    """Returns the files with the splits of `rule.keep`, and the number of new videos, which move no other video.

    A new video keeps its given split, or joins its group. A new group joins by its hash, which does not depend on the
    seed. Of a class that is not trained on yet, the group with the largest hash joins the training split.
    """
    place = Path(rule.keep).expanduser()
    path = place / SPLIT_FILE if place.is_dir() else place
    kept = read_splits(path)
    own = {file.name: kept.get(file.name) or kept.get(os.path.abspath(file.path), "") for file in files}
    known = {group_of(file): own[file.name] for file in files if own[file.name]}
    if not known:
        raise InputError(
            f"{path}: names none of the {len(files)} videos; config.keep_split is the work directory or the table of "
            f"a run on the same videos. It names {next(iter(kept), 'no video')!r}, and the first here is "
            f"{files[0].name!r}"
        )
    val_share = rule.val_share if "val" in kept.values() else 0.0
    trained = {file.label for file in files if known.get(group_of(file)) == "train"}
    largest: dict[str, float] = {}
    for file in files:
        largest[file.label] = max(largest.get(file.label, 0.0), _hash(group_of(file), seed=0))

    def split_of(file: VideoFile) -> str:
        group = group_of(file)
        if found := own[file.name] or file.split or known.get(group):
            return found
        place = _hash(group, seed=0)
        if place >= rule.test_share + val_share or (file.label not in trained and place == largest[file.label]):
            return "train"
        return "test" if place < rule.test_share else "val"

    num_new = sum(not own[file.name] for file in files)
    return [dataclasses.replace(file, split=split_of(file)) for file in files], num_new


def _draw_test_groups(files: Sequence[VideoFile], rule: SplitRule) -> set[str]:
    """Returns the groups of the test split.

    In the order of their hashes, a group is taken if its classes still need at least half of its videos in test. A
    group that is the last one of a class in train is not taken.
    """
    groups = _count_groups(files)
    if len(groups) == 1:
        raise InputError(
            f"no split can be made: all {len(files)} videos are of one group; add others, or give a split in a manifest"
        )
    wanted = {label: max(1, round(rule.test_share * n)) for label, n in Counter(f.label for f in files).items()}
    chosen = _take_fitting(groups, wanted, _by_hash(groups, rule.seed))
    # For classes without a test video: the smallest other groups.
    tested = {label for name in chosen for label in groups[name]}
    left = Counter(label for name, counts in groups.items() if name not in chosen for label in counts)
    for name in sorted(_by_hash(groups, rule.seed), key=lambda name: groups[name].total()):
        counts = groups[name]
        if name not in chosen and not counts.keys() <= tested and all(left[label] > 1 for label in counts):
            chosen.add(name)
            tested |= counts.keys()
            left -= Counter(counts.keys())
    # If no group can be taken, the smallest one is closest to the share.
    return chosen or {min(_by_hash(groups, rule.seed), key=lambda name: groups[name].total())}


def _draw_val_groups(files: Sequence[VideoFile], rule: SplitRule) -> set[str]:
    """Returns the groups of the validation split, drawn from train; none of a class whose share is below one half."""
    train = [file for file in files if file.split == "train"]
    sizes = Counter(file.label for file in files)
    groups = _count_groups(train)
    wanted = {label: round(rule.val_share * sizes[label]) for label in sizes}
    return _take_fitting(groups, wanted, _by_hash(groups, rule.seed))


def _take_fitting(groups: Mapping[str, Counter[str]], wanted: dict[str, int], order: Sequence[str]) -> set[str]:
    """Returns groups that together have about the wanted number of videos of each class.

    Args:
      groups: number of videos of each class, by group.
      wanted: number of videos to take, by class; it is counted down.
      order: groups in the order in which they are taken.
    """
    chosen = set[str]()
    left = Counter(label for counts in groups.values() for label in counts)  # groups of each class that are not taken
    for name in order:
        counts = groups[name]
        useful = sum(min(count, wanted[label]) for label, count in counts.items())
        if 2 * useful < counts.total() or any(left[label] == 1 for label in counts):
            continue
        chosen.add(name)
        left -= Counter(counts.keys())
        for label, count in counts.items():
            wanted[label] = max(0, wanted[label] - count)
    return chosen


def _count_groups(files: Sequence[VideoFile]) -> dict[str, Counter[str]]:
    """Returns the number of videos of each class, by group."""
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for file in files:
        groups[group_of(file)][file.label] += 1
    return groups


def group_of(file: VideoFile) -> str:
    """Returns the name of a video's group; a video without one is a group by itself."""
    # The prefix distinguishes a video without a group from a group of the same name.
    return f"group {file.group}" if file.group else f"video {file.name}"


def _by_hash(groups: Collection[str], seed: int) -> list[str]:
    return sorted(groups, key=lambda group: (_hash(group, seed), group))


def _hash(group: str, seed: int) -> float:
    """Returns a number in [0, 1) that depends on the seed and the group alone."""
    text = f"{seed} {group}".encode(errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest()) / 2**48
