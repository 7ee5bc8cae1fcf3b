"""Opens listed video files as a source; a file is decoded once, and again only after it changes or if it is unreadable.

Unreadable files are listed as bad videos.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from vjax.data import decode, index_cache
from vjax.data.listing import Listing, VideoFile, check_listing
from vjax.data.splits import SPLITS, SplitRule, split_files
from vjax.data.threads import thread_pool
from vjax.data.video import BadVideo, FileReader, Source, Video
from vjax.errors import InputError
from vjax.text import Advance, Progress

_QUIET_S = 1.0  # a dataset that is indexed faster needs no progress


def open_files(listing: Listing, *, root: str, rule: SplitRule, max_bad_share: float, advance: Advance) -> Source:
    """Returns a source with the videos of a listing.

    Args:
      listing: videos to open.
      root: location of the videos, for messages.
      rule: how the videos are split if the listing does not say it.
      max_bad_share: largest allowed share of unreadable videos.
      advance: progress callback; gets the number of indexed videos and the number of all videos.

    Raises:
      InputError: the listing has problems, a class has no readable training video, no test video is readable, too many
        videos are unreadable, or the videos cannot be split.
    """
    check_listing(listing)
    files, split = split_files(listing.files, given=listing.given, rule=rule)
    class_names = name_classes(files)
    found, bad_videos = probe_all(files, root=root, advance=advance)
    splits: dict[str, list[Video]] = {split: [] for split in SPLITS}
    for file, info in found:
        label, read = class_names.index(file.label), FileReader(file.path, info.seeks)
        splits[file.split].append(Video(file.name, label, info.num_frames, info.fps, read, file.group))
    source = Source(
        class_names, splits["train"], splits["test"], split, val=splits["val"], bad_videos=tuple(bad_videos)
    )
    check_readable(root, source, max_bad_share=max_bad_share)
    return dataclasses.replace(source, bad_videos=(*bad_videos, *listing.missing))


def check_readable(root: str, source: Source, *, max_bad_share: float) -> None:
    """Raises an InputError if too many videos are unreadable, a class has no training video, or none is for testing."""
    bad_videos, num_videos = source.bad_videos, source.num_videos
    if len(bad_videos) > max_bad_share * num_videos:
        raise InputError(
            f"{root}: {len(bad_videos)} of {num_videos} videos cannot be read, more than max_bad_share="
            f"{max_bad_share:g}; the first: {bad_videos[0].reason}"
        )
    trained = {source.train[position].label for position in range(len(source.train))}
    for label, name in enumerate(source.class_names):
        if label not in trained:
            raise InputError(f"{root}: class {name!r} has no readable video to train on")
    if not len(source.test):
        raise InputError(f"{root}: no readable video is left to test on")


def name_classes(files: Sequence[VideoFile]) -> tuple[str, ...]:
    """Returns the sorted class names; raises an InputError if a class does not occur in the training split."""
    trained = {file.label for file in files if file.split == "train"}
    for file in files:
        if file.label not in trained:
            raise InputError(
                f"{file.name}: the label {file.label!r} occurs only in the {file.split} split, so it cannot be "
                f"learned; labels to train on: {', '.join(sorted(trained))}"
            )
    return tuple(sorted(trained))


def indexing_progress(stream: TextIO) -> Progress:
    """Returns an object that shows the progress of opening files, unless that takes less than about a second."""
    return Progress(stream, unit="video", job="indexing", quiet_s=_QUIET_S)


def probe_all(
    files: Sequence[VideoFile], *, root: str, advance: Advance, reread: bool = False
) -> tuple[list[tuple[VideoFile, decode.VideoInfo]], list[BadVideo]]:
    """Returns the readable files with their properties, and the unreadable files with the reason.

    Args:
      files: the files.
      root: location of the dataset; what is found is kept for it (index_cache.py).
      advance: progress callback; gets the number of indexed files and the number of all files.
      reread: whether to decode every file, also those whose properties are kept.
    """

    def probe(path: Path) -> index_cache.Entry | decode.VideoError:
        try:
            return index_cache.probe(path)
        except decode.VideoError as error:
            return error

    # Take what is kept, and decode the other files.
    with index_cache.kept_index(root) as index:
        results = dict[Path, decode.VideoInfo | decode.VideoError]()
        if not reread:
            results |= index.find_all(file.path for file in files)
        left = [path for path in dict.fromkeys(file.path for file in files) if path not in results]
        done = len(files) - len(left)
        advance(done, len(files))
        with thread_pool() as pool:  # decoding releases the GIL
            for path, result in zip(left, pool.map(probe, left), strict=True):
                if isinstance(result, index_cache.Entry):
                    index.add(path, result)
                    results[path] = result.info
                else:
                    index.remove(path)
                    results[path] = result
                done += 1
                advance(done, len(files))
    # Tell the readable files from the others.
    found, bad_videos = [], []
    for file in files:
        result = results[file.path]
        if isinstance(result, decode.VideoError):
            bad_videos.append(BadVideo(file.name, file.split, str(result)))
        else:
            found.append((file, result))
    return found, bad_videos
