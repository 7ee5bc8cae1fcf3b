"""Finds the problems of a dataset before training."""

import collections
import dataclasses
import math
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vjax import typed
from vjax.data.files import name_classes, probe_all
from vjax.data.leaks import describe_leaks, find_leaks, listed_twice
from vjax.data.listing import VideoFile
from vjax.data.sources import LISTINGS, list_dataset
from vjax.data.splits import SPLITS, SplitRule, split_files
from vjax.data.store import is_store, open_store, read_store_files
from vjax.data.transforms import TrainView
from vjax.data.video import BadVideo, FileReader, Video
from vjax.errors import InputError
from vjax.spec import Choice
from vjax.text import Advance, format_table, shorten, show_nothing, some, wrap

_MEASURE_S = 3.0
_SHOWN = 10  # entries that are printed of a long list


@dataclasses.dataclass(frozen=True)
class Examined:
    """The findings about a dataset; `page` returns them as text.

    Attributes:
      facts: numbers and lists by name, ready for JSON.
      problems: one line for each problem, with advice.
      files: the readable videos with their given split; with their group, or a proposed one if none of them has one.
      videos: the same videos, in the same order.
    """

    facts: dict[str, Any]
    problems: list[str]
    files: list[VideoFile]
    videos: Sequence[Video]

    def rows(self) -> dict[str, str]:
        """Returns the facts about the dataset as text, by name."""
        facts = self.facts
        counts = ", ".join(f"{facts[f'num_{split}']:,} {split}" for split in SPLITS)
        return {
            "videos": f"{facts['num_videos']:,} ({counts})",
            "unreadable": f"{len(facts['unreadable']):,}; missing: {len(facts['missing']):,}",
            "hours": f"{facts['hours']:.2f}",
            "classes": f"{len(facts['classes']):,}; {facts['balance']}",
            "split": facts["split"],
            "length": _range(facts["seconds"], " s"),
            "frame rate": _range(facts["fps"], " fps"),
            "frame size": ", ".join(f"{size} ({count})" for size, count in facts["sizes"].items()) or "-",
        }

    def page(self, *, width: int) -> str:
        """Returns the findings as one page of text with lines of up to `width` columns."""
        # A line for each fact, also about training here.
        facts = self.facts
        rows = self.rows() | {"clip": facts["clip"], "reading": facts["reading"], "batch": facts["memory"]}
        lines = [wrap(f"{name:10}  {text}", width=width, hang=12) for name, text in rows.items()]
        # A table of the first classes, and the list of problems.
        widest = width - len("|  | train | val | test |")
        cells = [[shorten(name, widest), *of.values()] for name, of in list(facts["classes"].items())[:_SHOWN]]
        lines += ["", format_table(["class", *SPLITS], cells)]
        more = len(facts["classes"]) - _SHOWN
        lines += [f"... and {more:,} more classes"] if more > 0 else []
        lines += ["", "problems:"]
        lines += [wrap(f"- {problem}", width=width, hang=2) for problem in self.problems]
        return "\n".join(lines if self.problems else [*lines, "none: the dataset is ready for training"])


@dataclasses.dataclass(frozen=True)
class _Look:
    """The listed files of a dataset and the result of reading them.

    Attributes:
      files: all listed files, with their split.
      readable: those of `files` that can be read, with their split.
      videos: the readable videos, in the order of `readable`.
      sizes: "WIDTH x HEIGHT" of each readable video, in any order.
      unreadable: the files that cannot be read, with the reason.
      missing: the videos that the annotations name but that do not exist.
      split: description of how the videos were split.
      is_random: whether the split is random, so that it keeps groups together.
      problems: lines for the problems found while listing and splitting.
    """

    files: Sequence[VideoFile]
    readable: Sequence[VideoFile]
    videos: Sequence[Video]
    sizes: Sequence[str]
    unreadable: Sequence[BadVideo]
    missing: Sequence[BadVideo]
    split: str
    is_random: bool
    problems: Sequence[str] = ()


def examine(
    source: Choice, view: TrainView, *, batch_size: int, rule: SplitRule, advance: Advance = show_nothing
) -> Examined:
    """Examines every video of a dataset, split as training would split it.

    Args:
      source: a choice from `LISTINGS` (data/sources.py).
      view: training view of a video; also used to time reading.
      batch_size: clips per training batch, for the memory estimate.
      rule: how the videos are split if the dataset does not say it.
      advance: progress callback; gets the number of indexed videos and the number of all videos.

    Raises:
      InputError: the options are invalid, the dataset does not exist, or a prepared store lacks readable videos to
        train or test on.
    """
    # Read the listing and count the readable videos of each class.
    source = typed.conform_choice(source, LISTINGS, what="source")
    is_prepared = is_store(source.options["root"])
    look = _look_at_store(source, rule) if is_prepared else _look_at_files(source, rule, advance)
    readable = look.readable
    labels = sorted({file.label for file in look.files})
    classes: dict[str, dict[str, int]] = {label: dict.fromkeys(SPLITS, 0) for label in labels}
    for file in readable:
        if file.split:
            classes[file.label][file.split] += 1
    # Find what is in the data more than once, and what is on both sides of the split.
    facts = {
        **_count(look, classes),
        **_expect(look.videos, view, batch_size),
        "listed_twice": listed_twice(look.files),
    }
    leaks = find_leaks(readable, look.videos)
    of_leaks = describe_leaks(
        facts | leaks.facts,
        leaks.kind,
        can_group=look.is_random and "group" in source.options,
        is_store=is_prepared,
        is_given=not look.is_random or bool(rule.keep),
    )
    problems = [*look.problems, *_problems(facts), *of_leaks]
    files = [
        dataclasses.replace(file, group=group, split="" if look.is_random else file.split)
        for file, group in zip(readable, leaks.groups, strict=True)
    ]
    return Examined(facts | leaks.facts, problems, files, look.videos)


def _count(look: _Look, classes: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Returns the facts about the videos, their classes and their files."""
    counts = [sum(of_class.values()) for of_class in classes.values()]
    seconds = [video.num_frames / video.fps for video in look.videos]
    return {
        "num_videos": len(look.videos),
        "num_train": sum(file.split == "train" for file in look.readable),
        "num_val": sum(file.split == "val" for file in look.readable),
        "num_test": sum(file.split == "test" for file in look.readable),
        "hours": sum(seconds) / 3600,
        "classes": classes,
        "balance": f"{min(counts)} to {max(counts)} videos" if counts else "none",
        "split": look.split,
        "seconds": _summary(seconds),
        "fps": _summary([video.fps for video in look.videos]),
        "sizes": dict(collections.Counter(look.sizes).most_common(4)),
        "unreadable": [{"name": bad.name, "reason": bad.reason} for bad in look.unreadable],
        "missing": [{"name": bad.name, "reason": bad.reason} for bad in look.missing],
    }


def _expect(videos: Sequence[Video], view: TrainView, batch_size: int) -> dict[str, Any]:
    """Returns the facts about training on the videos: clips, reading speed and memory."""
    timing = view.timing
    rate, cores = _measure(videos, view), os.cpu_count() or 1
    num_bytes = batch_size * math.prod((timing.num_frames, *view.size, 3))
    return {
        "clip": f"{timing.describe()}, {view.size[0]} x {view.size[1]}",
        "short": [v.name for v in videos if v.num_frames < (timing.num_frames - 1) * timing.step(video_fps=v.fps) + 1],
        "clips_per_s_per_core": rate,
        "reading": f"{rate:.0f} clips/s measured on one core, at most {rate * cores:.0f} on {cores} cores",
        "batch_bytes": num_bytes,
        "memory": f"{batch_size} clips: {num_bytes / 1e6:.0f} MB as uint8, {4 * num_bytes / 1e6:.0f} MB as float32",
    }


def _problems(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yields one line for each problem that is no leak, with advice."""
    # Videos that training has to leave out.
    if bad := facts["unreadable"]:
        shown = some([entry["reason"] for entry in bad])
        yield (
            f"{len(bad)} video(s) cannot be read: {shown}. Training leaves them out if they are at most "
            "config.max_bad_share of all videos; repair or remove them"
        )
    if missing := facts["missing"]:
        yield f"{len(missing)} video(s) that the annotations name are missing: {some([m['name'] for m in missing])}"
    # Classes that cannot be learned or tested, and classes of very different sizes.
    counts = {name: sum(of_class.values()) for name, of_class in facts["classes"].items()}
    for name, of_class in facts["classes"].items():
        if not of_class["train"]:
            yield f"class {name!r} has no readable video to train on; remove the class or add videos"
        elif not of_class["test"]:
            yield f"class {name!r} has no readable video to test on: its accuracy will not be known"
    if counts and 0 < 4 * min(counts.values()) < max(counts.values()):
        yield f"the classes have {facts['balance']}: look at the accuracy of each class, not at the mean alone"
    # Clips that repeat their frames.
    if short := facts["short"]:
        yield (
            f"{len(short)} video(s) are shorter than the clip ({facts['clip']}): {some(short)}. Their clips are "
            "looped; a clip of fewer frames or at a higher frame rate avoids this"
        )


def _look_at_store(choice: Choice, rule: SplitRule) -> _Look:
    root, group = choice.options["root"], choice.options.get("group", "")
    source = open_store(root, typed.as_mapping(choice), rule=rule)
    listed, rows = read_store_files(root, group)
    files, _ = split_files(listed, given="", rule=rule)  # as open_store has split them
    # A row without a label is of a video that the annotations name but that is missing.
    readable, unreadable, missing = [], [], []
    for file, row in zip(files, rows, strict=True):
        if not row.reason:
            readable.append(file)
        else:
            (unreadable if row.label else missing).append(BadVideo(row.name, file.split, row.reason))
    readable.sort(key=lambda file: SPLITS.index(file.split))  # stable: the order of `videos`
    return _Look(
        files=[file for file, row in zip(files, rows, strict=True) if row.label],
        readable=readable,
        videos=[*source.train, *source.val, *source.test],
        sizes=[f"{row.width} x {row.height}" for row in rows if not row.reason],
        unreadable=unreadable,
        missing=missing,
        split=source.split,
        is_random=not all(file.split for file in listed),
    )


def _look_at_files(choice: Choice, rule: SplitRule, advance: Advance) -> _Look:
    listing = list_dataset(choice, advance=advance)
    files, split, problems = list(listing.files), "none can be made", list(listing.problems)
    try:
        if files:
            files, split = split_files(files, given=listing.given, rule=rule)
            name_classes(files)
    except InputError as error:
        problems.append(str(error))
    # The doctor looks at the files as they are now, not at what was kept of them.
    found, bad_videos = probe_all(files, root=choice.options["root"], advance=advance, reread=True)
    return _Look(
        files=files,
        readable=[file for file, _ in found],
        videos=[
            Video(file.name, 0, info.num_frames, info.fps, FileReader(file.path, info.seeks)) for file, info in found
        ],
        sizes=[f"{info.width} x {info.height}" for _, info in found],
        unreadable=bad_videos,
        missing=listing.missing,
        split=split,
        is_random=not all(file.split for file in listing.files),
        problems=problems,
    )


def _measure(videos: Sequence[Video], view: TrainView) -> float:
    """Returns how many random clips one core reads per second."""
    rng = np.random.default_rng(0)
    started, count = time.perf_counter(), 0
    while videos and time.perf_counter() - started < _MEASURE_S:
        view(videos[int(rng.integers(len(videos)))], rng)
        count += 1
    return count / (time.perf_counter() - started)


def _summary(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def _range(summary: Mapping[str, float], unit: str) -> str:
    if not summary:
        return "-"
    least, middle, most = (f"{summary[key]:.4g}" for key in ("min", "median", "max"))
    return f"{most}{unit}" if least == most else f"{least} to {most}{unit}, median {middle}"
