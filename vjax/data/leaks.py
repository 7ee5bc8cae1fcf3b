"""Leaks: videos, copies of videos and groups of videos that are on both sides of a split."""

import collections
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vjax.data.copies import find_copies
from vjax.data.fingerprints import take_fingerprints
from vjax.data.groups import propose_groups
from vjax.data.listing import VideoFile, find_groups
from vjax.data.threads import thread_pool
from vjax.data.video import FileReader, Video
from vjax.text import some

# Patterns in the file names of common datasets. Clips that share the captured text belong on one side of a split.
_GROUP_PATTERNS = {
    "recording gNN": r"_(g\d+)_c\d+",
    "YouTube id": r"(?:^|/)([\w-]{11})_\d{6}_\d{6}",
    "film": r"(?:^|/)([^/]+)_[a-z]+_[fhlu]_(?:cm|nm)_np\d_",
    "first word (a subject?)": r"(?:^|/)([A-Za-z]+)_[^/]*$",
}


class Leaks(NamedTuple):
    """What is in a dataset more than once.

    Attributes:
      facts: `same_content`, `near_copies` and `mirrored_copies`, pairs of names; the same `_across_splits`;
        `groups_across_splits`, names of groups; and if no video has a group, `places`, number of videos of each
        proposed group, and `places_across_splits`, those that are on both sides of the split. Ready for JSON.
      kind: how the groups are known.
      groups: group of each video, or its proposed group.
    """

    facts: dict[str, Any]
    kind: str
    groups: list[str]


def find_leaks(files: Sequence[VideoFile], videos: Sequence[Video]) -> Leaks:
    """Returns what is in a dataset more than once.

    Args:
      files: the readable videos, with their split.
      videos: the same videos, in the same order.

    Raises:
      VideoError: a video can no longer be read.
    """
    # The same content, and copies that have other bytes. A video that is listed twice is looked at once.
    digests = _digests(videos, files)
    same = _duplicates(files, digests)
    once = list({file.name: position for position, file in enumerate(files)}.values())
    prints = take_fingerprints([videos[position] for position in once])
    copies = find_copies([videos[position] for position in once], prints)
    found = [(once[copy.first], once[copy.second], copy.mirrored) for copy in copies]
    others = [(files[a], files[b], mirrored) for a, b, mirrored in found if digests[a] != digests[b]]
    pairs = {
        "same_content": same,
        "near_copies": [(a, b) for a, b, mirrored in others if not mirrored],
        "mirrored_copies": [(a, b) for a, b, mirrored in others if mirrored],
    }
    # Groups: those that are known, and those that are proposed if none are.
    torn, kind = _leaks(files)
    have_groups = any(file.group for file in files)
    proposed = propose_groups([files[position] for position in once], prints, copies)
    repeated = {b.name for found in pairs.values() for _, b in found}  # said above
    torn_places = _on_both_sides(
        (group, files[position].split)
        for position, group in zip(once, proposed, strict=True)
        if files[position].name not in repeated
    )
    proposal = {files[position].name: group for position, group in zip(once, proposed, strict=True)}
    groups = [file.group if have_groups else proposal[file.name] for file in files]
    facts = {kind: [(a.name, b.name) for a, b in found] for kind, found in pairs.items()}
    facts |= {
        f"{kind}_across_splits": [(a.name, b.name) for a, b in found if a.split != b.split]
        for kind, found in pairs.items()
    }
    facts |= {
        "groups_across_splits": torn,
        "places": {} if have_groups else dict(collections.Counter(filter(None, proposed))),
        "places_across_splits": [] if have_groups else torn_places,
    }
    return Leaks(facts, kind, groups)


def describe_leaks(
    facts: Mapping[str, Any], kind: str, *, can_group: bool, is_store: bool, is_given: bool
) -> Iterator[str]:
    """Yields one line for each problem, with advice.

    Args:
      facts: those of `Leaks`, `listed_twice` and `num_videos`.
      kind: how the groups are known.
      can_group: whether the option `group` of the source changes the split.
      is_store: whether the videos are in a prepared store.
      is_given: whether the split is given or kept, so that groups do not change it.
    """
    # The same video or content twice.
    if listed := facts["listed_twice"]:
        shown = some([f"{name} ({', '.join(splits)})" for name, splits in listed.items()])
        yield (
            f"{len(listed)} video(s) are listed more than once: {shown}. List each one once; a video in train and in "
            "test makes the test result too high"
        )
    what_is = {
        "same_content": "have the same content",
        "near_copies": "are near copies",
        "mirrored_copies": "are mirrored copies",
    }
    for name, what in what_is.items():
        leaking = facts[f"{name}_across_splits"]
        if leaking:
            shown = some([" = ".join(pair) for pair in leaking])
            yield (
                f"{len(leaking)} pair(s) of videos {what} in different splits: {shown}. Remove one of each pair; "
                "otherwise the test result is too high"
            )
        same_side = [" = ".join(pair) for pair in facts[name] if pair not in leaking]
        if same_side:
            yield f"{len(same_side)} pair(s) of videos {what} in one split: {some(same_side)}"
    # Groups on both sides of the split.
    if leaks := facts["groups_across_splits"]:
        pattern = _GROUP_PATTERNS.get(kind)
        fix = (
            f"keep them together with --config.source.group='{pattern}' (vjax split, prepare: --source.group)"
            if pattern and can_group
            else "a manifest path,label,split can give a split that keeps each group on one side"
        )
        yield (
            f"{len(leaks)} group(s) by {kind} are in different splits: {some(leaks)}. The test result "
            f"is too high if the videos of a group look alike; {fix}"
        )
    if torn := facts["places_across_splits"]:
        largest = max(facts["places"][place] for place in torn)
        if 2 * largest > facts["num_videos"]:
            fix = "no split keeps most of the videos together, so test on videos of another place if that matters"
        elif is_given:
            fix = "the split is given: change it if that matters"
        elif is_store:
            fix = "a store that is prepared with --source.group=auto keeps them together"
        elif can_group:
            fix = (
                "--config.source.group=auto keeps them together, and `vjax doctor --propose-groups FILE.csv` writes "
                "them into a manifest"
            )
        else:
            fix = "`vjax doctor --propose-groups FILE.csv` writes them into a manifest"
        yield (
            f"{len(torn)} group(s) of videos that seem to be of one camera and place are in different splits; the "
            f"largest has {largest} videos. The test result may be too high for videos of other places; {fix}"
        )


def _digests(videos: Sequence[Video], files: Sequence[VideoFile]) -> list[bytes]:
    """Returns a digest of each video: of a file's bytes, or of three frames and the length of a stored video."""

    def digest(pair: tuple[Video, VideoFile]) -> bytes:
        video, file = pair
        if isinstance(video.read, FileReader):
            with file.path.open("rb") as stream:
                return hashlib.file_digest(stream, "blake2b").digest()
        seen = video.read(np.linspace(0, video.num_frames - 1, 3).astype(int))
        return hashlib.blake2b(seen.tobytes() + bytes(str(video.num_frames), "ascii")).digest()

    with thread_pool() as pool:
        return list(pool.map(digest, zip(videos, files, strict=True)))


def listed_twice(files: Sequence[VideoFile]) -> dict[str, list[str]]:
    """Returns the names that are listed more than once, and the split of each time."""
    splits = collections.defaultdict[str, list[str]](list)
    for file in files:
        splits[file.name].append(file.split)
    return {name: found for name, found in splits.items() if len(found) > 1}


def _duplicates(files: Sequence[VideoFile], digests: Sequence[bytes]) -> list[tuple[VideoFile, VideoFile]]:
    """Returns pairs of videos with the same content; the first of a pair is the first video with that content.

    A video that is listed more than once is no pair with itself.
    """
    first: dict[bytes, VideoFile] = {}
    pairs = []
    for file, digest in zip(files, digests, strict=True):
        other = first.setdefault(digest, file)
        if other.name != file.name:
            pairs.append((other, file))
    return pairs


def _leaks(files: Sequence[VideoFile]) -> tuple[list[str], str]:
    """Returns the groups that are on both sides of the split, and how the groups are known.

    If no groups are given, they are guessed from the file names. A pattern counts if it matches at least 90 % of the
    names and gives at least two groups of, on average, at least two videos.
    """
    known = _groups_on_both_sides(files)
    if known:
        return known, "the given group"
    if any(file.group for file in files):
        return [], ""
    for kind, pattern in _GROUP_PATTERNS.items():
        guessed = find_groups(files, pattern)
        matched = [file for file in guessed if file.group]
        sizes = collections.Counter(file.group for file in matched)
        if (
            len(matched) >= 0.9 * len(files)
            and 2 <= len(sizes) <= len(matched) / 2
            and (leaking := _groups_on_both_sides(matched))
        ):
            return leaking, kind
    return [], ""


def _groups_on_both_sides(files: Iterable[VideoFile]) -> list[str]:
    return _on_both_sides((file.group, file.split) for file in files)


def _on_both_sides(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Returns the groups that are in several splits, from the group and the split of each video."""
    sides = collections.defaultdict[str, set[str]](set)
    for group, split in pairs:
        if group and split:
            sides[group].add(split)
    return sorted(group for group, splits in sides.items() if len(splits) > 1)
