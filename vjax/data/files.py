"""Opens listed video files as a source; each file is decoded once, and unreadable files are listed as bad videos."""

from collections.abc import Sequence
from typing import TextIO

from vjax.data import decode
from vjax.data.listing import Listing, VideoFile, check_listing
from vjax.data.splits import split_files
from vjax.data.threads import thread_pool
from vjax.data.video import BadVideo, FileReader, Source, Video
from vjax.errors import InputError
from vjax.text import Advance, Progress

_QUIET_S = 1.0  # a dataset that is indexed faster needs no progress


def open_files(
    listing: Listing,
    *,
    root: str,
    seed: int,
    held_out: str,
    test_share: float,
    max_bad_share: float,
    advance: Advance,
) -> Source:
    """Returns a source with the videos of a listing.

    Args:
      listing: videos to open.
      root: location of the videos, for messages.
      seed: seed of the random split, used if neither the listing nor `held_out` gives a split.
      held_out: comma-separated groups that form the test split.
      test_share: share of each class that a random split assigns to the test split.
      max_bad_share: largest allowed share of unreadable videos.
      advance: progress callback; gets the number of indexed videos and the number of all videos.

    Raises:
      InputError: the listing has problems, a class has no readable training video, no test video is readable, too many
        videos are unreadable, or the videos cannot be split.
    """
    check_listing(listing)
    files, split = split_files(listing.files, given=listing.given, held_out=held_out, test_share=test_share, seed=seed)
    class_names = name_classes(files)
    found, bad_videos = probe_all(files, advance=advance)
    splits: dict[str, list[Video]] = {"train": [], "test": []}
    for file, info in found:
        read = FileReader(file.path, info.seeks)
        splits[file.split].append(Video(file.name, class_names.index(file.label), info.num_frames, info.fps, read))
    check_readable(root, class_names, splits["train"], splits["test"], bad_videos, max_bad_share=max_bad_share)
    return Source(class_names, splits["train"], splits["test"], split, (*bad_videos, *listing.missing))


def check_readable(
    root: str,
    class_names: Sequence[str],
    train: Sequence[Video],
    test: Sequence[Video],
    bad_videos: Sequence[BadVideo],
    *,
    max_bad_share: float,
) -> None:
    """Raises an InputError if too many videos are unreadable, a class has no training video, or `test` is empty."""
    num_videos = len(train) + len(test) + len(bad_videos)
    if len(bad_videos) > max_bad_share * num_videos:
        raise InputError(
            f"{root}: {len(bad_videos)} of {num_videos} videos cannot be read, more than max_bad_share="
            f"{max_bad_share:g}; the first: {bad_videos[0].reason}"
        )
    trained = {video.label for video in train}
    for label, name in enumerate(class_names):
        if label not in trained:
            raise InputError(f"{root}: class {name!r} has no readable video to train on")
    if not test:
        raise InputError(f"{root}: no readable video is left to test on")


def name_classes(files: Sequence[VideoFile]) -> tuple[str, ...]:
    """Returns the sorted class names; raises an InputError if a class occurs only in the test split."""
    trained = {file.label for file in files if file.split == "train"}
    for file in files:
        if file.label not in trained:
            raise InputError(
                f"{file.name}: the label {file.label!r} occurs only in the test split, so it cannot be learned; "
                f"labels to train on: {', '.join(sorted(trained))}"
            )
    return tuple(sorted(trained))


def indexing_progress(stream: TextIO) -> Progress:
    """Returns an object that shows the progress of opening files, unless that takes less than about a second."""
    return Progress(stream, unit="video", job="indexing", quiet_s=_QUIET_S)


def probe_all(
    files: Sequence[VideoFile], *, advance: Advance
) -> tuple[list[tuple[VideoFile, decode.VideoInfo]], list[BadVideo]]:
    """Returns the readable files with their properties, and the unreadable files with the reason."""

    def probe(file: VideoFile) -> decode.VideoInfo | decode.VideoError:
        try:
            return decode.probe(file.path)
        except decode.VideoError as error:
            return error

    found, bad_videos = [], []
    advance(0, len(files))
    with thread_pool() as pool:  # decoding releases the GIL
        for done, (file, result) in enumerate(zip(files, pool.map(probe, files), strict=True), start=1):
            if isinstance(result, decode.VideoError):
                bad_videos.append(BadVideo(file.name, file.split, str(result)))
            else:
                found.append((file, result))
            advance(done, len(files))
    return found, bad_videos
