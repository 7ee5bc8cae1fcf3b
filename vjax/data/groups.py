"""Proposed groups: videos that seem to be of one camera and place, or copies of each other."""

import contextlib
import dataclasses
import hashlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vjax.data.copies import ALIGNED, MOTION, SCENE, Copy, find_copies
from vjax.data.fingerprints import Fingerprint, similar_scenes, take_fingerprints
from vjax.data.listing import VideoFile
from vjax.data.video import Video
from vjax.errors import InputError
from vjax.json_files import read_json, write_json
from vjax.runtime.cache_folder import cache_folder

PLACE = 0.9  # lowest correlation of the scenes of two videos of one place


def with_proposed_groups(files: Sequence[VideoFile], videos: Sequence[Video]) -> list[VideoFile]:
    """Returns files whose proposed group is filled in, unless they have one; kept in the user's cache folder.

    Args:
      files: listed files.
      videos: the same videos, in the same order.

    Raises:
      VideoError: a video can no longer be read.
    """
    path = _cache_path(files)
    if path is not None and path.exists():
        groups = read_json(path)
    else:
        prints = take_fingerprints(videos)
        groups = propose_groups(files, prints, find_copies(videos, prints))
        # Where the cache cannot be written, nothing is lost but time.
        with contextlib.suppress(InputError):
            if path is not None:
                write_json(path, groups)
    return [dataclasses.replace(file, group=group) for file, group in zip(files, groups, strict=True)]


def propose_groups(files: Sequence[VideoFile], prints: Sequence[Fingerprint], copies: Sequence[Copy] = ()) -> list[str]:
    """Returns the group of each video: its own, or a proposed one; empty for a video that is like no other.

    Two videos are alike if their scenes correlate by more than `PLACE`, plain or mirrored; if they are copies; or if a
    chain of such videos leads from one to the other. A video without a group joins the first group that the videos like
    it have, or a new one that is named after the first of them, such as "like walk/a.mp4".

    Args:
      files: listed files.
      prints: fingerprints of the videos, in the same order.
      copies: pairs of copies among them.
    """
    component = _components(prints, copies)
    sizes = np.bincount(component, minlength=len(files))
    name_of: dict[int, str] = {}
    for file, number in zip(files, component.tolist(), strict=True):
        if file.group and number not in name_of:
            name_of[number] = file.group
    return [
        file.group or name_of.get(number, f"like {files[number].name}" if sizes[number] > 1 else "")
        for file, number in zip(files, component.tolist(), strict=True)
    ]


def _components(prints: Sequence[Fingerprint], copies: Sequence[Copy]) -> np.ndarray:
    """Returns the position of the first video that each video is like, over chains of such videos."""
    from scipy import sparse  # imported here, because all other commands start faster without it

    count = len(prints)
    component = np.arange(count)
    of_copies = (np.array([copy.first for copy in copies], int), np.array([copy.second for copy in copies], int))
    of_places = ((pairs.first, pairs.second) for pairs in similar_scenes(prints, lowest=PLACE))
    # Block by block, so that the memory does not grow with the number of pairs.
    for first, second in itertools.chain([of_copies], of_places):
        rows, columns = np.concatenate([first, np.arange(count)]), np.concatenate([second, component])
        edges = sparse.coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(count, count))
        _, labels = sparse.csgraph.connected_components(edges, directed=False)
        _, start = np.unique(labels, return_index=True)
        component = start[labels]
    return component


def _cache_path(files: Sequence[VideoFile]) -> Path | None:
    """Returns the path of the cache file for these files as they are now; None if the user has no cache folder."""
    folder = cache_folder()
    if folder is None:
        return None
    digest = hashlib.blake2b(f"{PLACE} {SCENE} {MOTION} {ALIGNED}".encode(), digest_size=16)
    for file in files:
        found = os.stat(file.path)
        said = f"{os.path.abspath(file.path)} {found.st_size} {found.st_mtime_ns} {file.name} {file.group}\n"
        digest.update(said.encode(errors="surrogateescape"))
    return folder / "groups" / f"{digest.hexdigest()}.json"
