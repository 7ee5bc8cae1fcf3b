"""Cross-validation: a run for each fold, and one result over all videos."""

import csv
import dataclasses
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import jax
import numpy as np

from vjax import mesh as meshes
from vjax.config import Config, check_config
from vjax.data.files import indexing_progress
from vjax.data.folds import Folds, draw_folds
from vjax.data.listing import VideoFile
from vjax.data.sources import LISTINGS, list_readable
from vjax.data.splits import read_splits
from vjax.data.video import BadVideo
from vjax.errors import InputError
from vjax.evaluation import metrics
from vjax.evaluation.intervals import accuracy_interval
from vjax.evaluation.pooling import pool_videos
from vjax.evaluation.predictions import TestPredictions, read_predictions
from vjax.experiment import build
from vjax.json_files import read_json, write_csv, write_json
from vjax.models import NETWORKS
from vjax.preprocessing import bind_preprocessing
from vjax.run import train
from vjax.spec import check_names
from vjax.text import some, terminal_width, wrap

RESULT_FILE = "crossval.json"


def crossval(
    config: Config,
    workdir: str | Path,
    *,
    folds: Folds = 5,
    repeats: int = 1,
    networks: Sequence[str] = (),
    console: TextIO = sys.stderr,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Trains a network on each fold and tests it on the rest; returns the content of `crossval.json`.

    Every video is tested once in each repeat, by a network that saw no video of its group. The test split of a fold
    serves no choice: a validation split is drawn from the training videos of each fold if `config.val_share` asks for
    one. Each fold has its own folder under the work directory, so an interrupted cross-validation can be resumed.

    Args:
      config: config of the runs; its `held_out`, `test_share` and `keep_split` serve only folds="split".
      workdir: directory of the runs and of `crossval.json`.
      folds: number of folds; "group" for a fold for each group (leave one subject out); or "split" for the split of the
        config alone, which tests only its test videos.
      repeats: number of times that all folds are drawn and trained, each with another seed.
      networks: names of the networks to compare on the same folds; that of the config if empty.
      console: stream for progress messages.
      should_stop: function that tells whether to save and stop, as in `fit`.

    Returns:
      `protocol` in words, `class_names`, `chance`, `num_videos`, `num_groups`, the names of unreadable `bad_videos`,
      and `networks`: for each its accuracies over all videos, its runs and its answers (docs/trust.md).

    Raises:
      InputError: the config or the data does not fit, or no folds can be made.
      Interrupted: `should_stop` returned True; the state is saved.
    """
    # The videos that can be read, and the networks: what is wrong with them is said before anything is trained.
    config = check_config(config)
    workdir, names = Path(workdir).expanduser(), list(networks) or [config.network.name]
    _check_options(names, repeats)
    plans, bad_videos = _make_plans(config, workdir, console, folds=folds, repeats=repeats, first_network=names[0])
    for name in names:
        build(plans[0].config.with_network(name)).check()

    # The runs. One network after the other has all folds, so that a stopped comparison has whole networks.
    tested: dict[str, list[_Tested]] = {name: [] for name in names}
    for name, plan in itertools.product(names, plans):
        said = f"{name}, repeat {plan.repeat} of {repeats}, {plan.what}"
        console.write(wrap(said, width=terminal_width()) + "\n")
        place = workdir / name / plan.place
        run_config = plan.config.with_network(name)
        if plan.files or plan.repeat > 1:  # the split is one that this function has written
            run_config = _as_begun(run_config, place)
        result = train(run_config, place, console=console, should_stop=should_stop)
        # The other processes wait until process 0 has written its files.
        predictions = meshes.first_process_first(lambda place=place: read_predictions(place))
        tested[name].append(_Tested(plan, place, result, predictions))
    _check_same_videos(tested)

    # The result over all videos.
    first = tested[names[0]]
    class_names = first[0].result["class_names"]
    groups = {group for run in first for group in run.predictions.groups}
    pooled: list[dict[str, Any]] = [
        {"network": name} | _pool(tested[name], class_names, root=workdir) for name in names
    ]
    lost = pooled[0]["lost_videos"]
    if folds == "split":
        bad_videos = _read_bad_videos(first[0].workdir)
        protocol = first[0].result["protocol"] + (f"; {repeats} times with other seeds" if repeats > 1 else "")
    else:
        protocol = _describe(config, plans, folds, bad_videos, repeats=repeats, lost=lost)
    found = {
        "protocol": protocol,
        "class_names": class_names,
        "chance": 1 / len(class_names),
        "num_videos": pooled[0]["num_videos"],
        "num_groups": len(groups - {""}),
        "bad_videos": bad_videos,
        "networks": pooled,
    }
    if jax.process_index() == 0:
        write_json(workdir / RESULT_FILE, found)
    return found


class _Plan(NamedTuple):
    """A run to make.

    Attributes:
      repeat: number of the repeat, from 1.
      fold: name of what the run tests.
      place: its folder below that of its network.
      config: its config, with the split of its fold.
      files: all videos with their split; empty for the split of the config.
    """

    repeat: int
    fold: str
    place: str
    config: Config
    files: Sequence[VideoFile] = ()

    @property
    def what(self) -> str:
        """The fold in words."""
        return f"fold {self.fold}" if self.files else self.fold


class _Tested(NamedTuple):
    """A finished run."""

    plan: _Plan
    workdir: Path
    result: dict[str, Any]
    predictions: TestPredictions


def _check_options(names: Sequence[str], repeats: int) -> None:
    """Raises an InputError if a network is not known or named twice, or there is no repeat."""
    check_names(names, NETWORKS, what="networks")
    if len(set(names)) < len(names):
        raise InputError(f"networks has a name twice: {', '.join(names)}; give each network once")
    if repeats < 1:
        raise InputError(f"a cross-validation needs 1 repeat or more, got {repeats}")


def _list(config: Config, console: TextIO) -> tuple[list[VideoFile], list[BadVideo]]:
    """Returns the videos of a config's source that can be read, and the others.

    Raises:
      InputError: the source has no list of videos, the videos are missing or inconsistent, or a name occurs twice.
    """
    with indexing_progress(console) as progress:
        found = list_readable(config.source, advance=progress.advance)
    if found is None:
        raise InputError(
            f"the videos of config.source {config.source.name!r} have no list of names, so they cannot be divided into "
            "folds; give a folder or a manifest of videos, a store that `vjax prepare` wrote, or a dataset of video "
            "files"
        )
    names = Counter(file.name for file in found[0])
    if twice := [name for name, count in names.items() if count > 1]:
        raise InputError(f"these videos are listed twice, so their answers cannot be told apart: {some(twice)}")
    return found


def _make_plans(
    config: Config, workdir: Path, console: TextIO, *, folds: Folds, repeats: int, first_network: str
) -> tuple[list[_Plan], list[str]]:
    """Returns the runs to make of a network and the unreadable videos, and writes the splits of the folds."""
    seeds = [(number, (config.seed + number - 1) % 2**32) for number in range(1, repeats + 1)]
    if folds == "split":
        return [_plan_split(config, workdir / first_network, number, seed) for number, seed in seeds], []
    files, bad_videos = meshes.first_process_first(lambda: _list(config, console))
    plans = []
    for repeat, seed in seeds:
        seeded = dataclasses.replace(config, seed=seed, held_out="", keep_split="")
        for number, fold in enumerate(draw_folds(files, num_folds=folds, rule=seeded.split_rule), start=1):
            place = f"repeat_{repeat}/fold_{number}"
            kept = dataclasses.replace(seeded, keep_split=str(workdir / "folds" / f"{place}.csv"))
            plans.append(_Plan(repeat, fold.name, place, kept, fold.files))
    # Only now, because a work directory keeps its folds.
    for plan in plans:
        meshes.first_process_first(lambda plan=plan: _keep(Path(plan.config.keep_split), plan.files))
    return plans, [bad.name for bad in bad_videos]


def _plan_split(config: Config, first: Path, number: int, seed: int) -> _Plan:
    """Returns a run on the split of the config; later repeats keep the split that the first one, in `first`, has."""
    if number > 1 and config.source.name in LISTINGS:
        config = dataclasses.replace(config, held_out="", keep_split=str(first / "repeat_1" / "split"))
    return _Plan(number, "the split of the config", f"repeat_{number}/split", dataclasses.replace(config, seed=seed))


def _as_begun(config: Config, place: Path) -> Config:
    """Returns the config of a run with the path of its split that it began with: the work directory may have moved."""
    path = place / "config.json"
    return dataclasses.replace(config, keep_split=read_json(path)["keep_split"]) if path.exists() else config


def _read_bad_videos(workdir: Path) -> list[str]:
    """Returns the names of the unreadable videos of a run."""
    with (workdir / "bad_videos.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return [row["name"] for row in csv.DictReader(stream)]


def _keep(path: Path, files: Sequence[VideoFile]) -> None:
    """Writes the split of a fold; if there is one already, it must be the same.

    Raises:
      InputError: the work directory has another split.
    """
    splits = {file.name: file.split for file in files}
    if not path.exists():
        write_csv(path, [("name", "split"), *splits.items()])
    elif read_splits(path) != splits:
        raise InputError(
            f"{path.parents[2]} holds a cross-validation with other folds, of other videos or with another seed; give "
            "what it was started with, or choose another --workdir"
        )


def _check_same_videos(tested: Mapping[str, Sequence[_Tested]]) -> None:
    """Raises an InputError if the networks were trained or tested on other videos."""

    def videos_of(run: _Tested) -> Any:
        # The code is that of all videos of the run in their splits; empty for videos in records.
        return read_json(run.workdir / "data.json")["split_code"], run.predictions.names

    splits = {name: [videos_of(run) for run in runs] for name, runs in tested.items()}
    first, *others = splits
    for name in others:
        if splits[name] != splits[first]:
            raise InputError(
                f"{name} was trained or tested on other videos than {first}, because files were added or can no longer "
                "be read; undo that, or use another --workdir"
            )


def _pool(tested: Sequence[_Tested], class_names: Sequence[str], *, root: Path) -> dict[str, Any]:
    """Returns the result of a network over all videos, ready for JSON.

    Returns:
      `num_videos`; `video@1`, the share of right answers, over all repeats; its 95 % `interval`, for the groups;
      `mean_class` and `class_accuracy`; `confusion` `(k k)`, counts over all repeats; `folds`, one entry for
      each run; and `videos`, one entry for each answer.
    """
    # One entry for each answer, and one for each run.
    answers, runs = [], []
    confusion = np.zeros((len(class_names), len(class_names)), int)
    for plan, workdir, result, (names, groups, label, probs) in tested:
        predicted = metrics.predicted_class(probs, label)
        confusion += metrics.confusion_matrix(label, predicted, len(class_names))
        where = {"repeat": plan.repeat, "fold": plan.fold}
        kept = ("num_videos", "lost_videos", "video@1", "video@1_interval")
        runs.append(where | {key: result[key] for key in kept} | {"workdir": str(workdir.relative_to(root))})
        answers += [
            {
                "name": names[i] if names else "",
                "group": groups[i],
                "label": class_names[int(label[i])],
                "predicted": class_names[int(predicted[i])],
                "probability": float(probs[i, predicted[i]]),
            }
            | where
            for i in range(len(label))
        ]

    # The share of right answers about each video.
    predictions = [run.predictions for run in tested]
    pooled = pool_videos(predictions)
    right = pooled.mean([found.right for found in predictions])
    by_class = {
        name: float(right[pooled.label == index].mean()) if (pooled.label == index).any() else None
        for index, name in enumerate(class_names)
    }
    return {
        "num_videos": len(right),
        "lost_videos": sum(run["lost_videos"] for run in runs),
        "video@1": float(right.mean()),
        "video@1_interval": accuracy_interval(right, pooled.groups),
        "mean_class": float(np.mean([found for found in by_class.values() if found is not None])),
        "class_accuracy": by_class,
        "confusion": confusion.tolist(),
        "folds": runs,
        "videos": answers,
    }


def _describe(
    config: Config, plans: Sequence[_Plan], folds: Folds, bad_videos: Sequence[str], *, repeats: int, lost: int
) -> str:
    """Returns how the numbers were measured."""
    num_folds = len(plans) // repeats
    num_groups = len({file.group for file in plans[0].files} - {""})
    num_val = [sum(file.split == "val" for file in plan.files) for plan in plans]
    kept = " to ".join(map(str, sorted({min(num_val), max(num_val)})))
    view = bind_preprocessing(config)[0].test_view
    words = [
        f"{num_folds} folds{', one for each group' if folds == 'group' else ''}"
        + (f", {repeats} times with other seeds" if repeats > 1 else ""),
        f"groups kept together ({num_groups})" if num_groups else "without groups",
        f"seed {config.seed}",
        f"{kept} of a fold's training videos kept for validation" if max(num_val) else "no validation split",
        f"{len(bad_videos)} videos unreadable" + (f", {lost} lost and counted as wrong" if lost else ""),
        f"{view.describe()}; mean of softmax over opinions, clips and crops; newest checkpoint",
    ]
    return "; ".join(words)
