"""Cross-validation: a run for each fold, and one result over all videos."""

import dataclasses
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import jax
import numpy as np

from vjax import mesh as meshes
from vjax.config import Config, check_config
from vjax.data.folds import Fold, NumFolds, draw_folds
from vjax.data.listing import VideoFile
from vjax.data.sources import list_files
from vjax.data.splits import read_splits
from vjax.errors import InputError
from vjax.evaluation import metrics
from vjax.evaluation.intervals import accuracy_interval
from vjax.evaluation.predictions import TestPredictions, read_predictions
from vjax.json_files import write_csv, write_json
from vjax.models import NETWORKS
from vjax.run import train
from vjax.spec import check_names
from vjax.text import terminal_width, wrap

RESULT_FILE = "crossval.json"


def crossval(
    config: Config,
    workdir: str | Path,
    *,
    folds: NumFolds = 5,
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
      config: config of the runs; its `held_out`, `test_share` and `keep_split` are not used.
      workdir: directory of the runs and of `crossval.json`.
      folds: number of folds, or "group" for a fold for each group (leave one subject out).
      repeats: number of times that all folds are drawn and trained, each with another seed.
      networks: names of the networks to compare on the same folds; that of the config if empty.
      console: stream for progress messages.
      should_stop: function that tells whether to save and stop, as in `fit`.

    Returns:
      `protocol` in words, `class_names`, `chance`, `num_videos`, `num_groups`, and for each of `networks` what
      `_pool` returns.

    Raises:
      InputError: the config or the data does not fit, or no folds can be made.
      Interrupted: `should_stop` returned True; the state is saved.
    """
    config, workdir = check_config(config), Path(workdir).expanduser()
    config = dataclasses.replace(config, held_out="", keep_split="")
    names = list(networks) or [config.network.name]
    check_names(names, NETWORKS, what="networks")
    if repeats < 1:
        raise InputError(f"a cross-validation needs 1 repeat or more, got {repeats}")
    files = _list(config)

    # All folds first, so that nothing is trained if a later one cannot be made.
    plans = []
    for repeat in range(repeats):
        seeded = dataclasses.replace(config, seed=config.seed + repeat)
        for number, fold in enumerate(draw_folds(files, num_folds=folds, rule=seeded.split_rule), start=1):
            place = f"repeat_{repeat + 1}/fold_{number}"
            meshes.first_process_first(lambda place=place, fold=fold: _keep(workdir / "folds" / f"{place}.csv", fold))
            kept = dataclasses.replace(seeded, keep_split=str(workdir / "folds" / f"{place}.csv"))
            plans.append(_Plan(repeat + 1, fold.name, place, kept))

    # The runs. One network after the other has all folds, so that a stopped comparison has whole networks.
    groups = {file.name: file.group for file in files}
    pooled, class_names = [], ()
    for name in names:
        tested = []
        for plan in plans:
            said = f"{name}, repeat {plan.repeat} of {repeats}, fold {plan.fold}"
            console.write(wrap(said, width=terminal_width()) + "\n")
            place = workdir / name / plan.place
            result = train(plan.config.with_network(name), place, console=console, should_stop=should_stop)
            # The other processes wait until process 0 has written its files.
            predictions = meshes.first_process_first(lambda place=place: read_predictions(place))
            tested.append(_Tested(plan, place, result, predictions))
            class_names = tuple(result["class_names"])
        pooled.append({"network": name} | _pool(tested, groups, class_names, root=workdir))
    found = {
        "protocol": _describe(config, files, folds, repeats=repeats, num_folds=len(plans) // repeats),
        "class_names": list(class_names),
        "chance": 1 / len(class_names),
        "num_videos": pooled[0]["num_videos"],
        "num_groups": len({file.group for file in files} - {""}),
        "networks": pooled,
    }
    if jax.process_index() == 0:
        write_json(workdir / RESULT_FILE, found)
    return found


class _Plan(NamedTuple):
    """A run to make: the number of its repeat, what its fold tests, its folder, and its config."""

    repeat: int
    fold: str
    place: str
    config: Config


class _Tested(NamedTuple):
    """A finished run."""

    plan: _Plan
    workdir: Path
    result: dict[str, Any]
    predictions: TestPredictions


def _list(config: Config) -> Sequence[VideoFile]:
    """Returns the videos of a config's source.

    Raises:
      InputError: the source has no list of videos, or the videos are missing or inconsistent.
    """
    files = list_files(config.source)
    if files is None:
        raise InputError(
            f"the videos of config.source {config.source.name!r} have no list of names, so they cannot be divided into "
            "folds; give a folder or a manifest of videos, a store that `vjax prepare` wrote, or a dataset of video "
            "files"
        )
    return files


def _keep(path: Path, fold: Fold) -> None:
    """Writes the split of a fold; if there is one already, it must be the same.

    Raises:
      InputError: the work directory has another split.
    """
    splits = {file.name: file.split for file in fold.files}
    if not path.exists():
        write_csv(path, [("name", "split"), *splits.items()])
    elif read_splits(path) != splits:
        raise InputError(
            f"{path.parents[2]} holds a cross-validation with other folds, of other videos or with another seed; give "
            "what it was started with, or choose another --workdir"
        )


def _pool(
    tested: Sequence[_Tested], groups: Mapping[str, str], class_names: Sequence[str], *, root: Path
) -> dict[str, Any]:
    """Returns the result of a network over all videos, ready for JSON.

    Returns:
      `num_videos`; `video@1`, the share of right answers, over all repeats; its 95 % `interval`, for the groups;
      `mean_class` and `class_accuracy`; `confusion` `(k k)`, counts over all repeats; `folds`, one entry for
      each run; and `videos`, one entry for each answer.
    """
    # One entry for each answer, and one for each run.
    answers, runs = [], []
    confusion = np.zeros((len(class_names), len(class_names)), int)
    for plan, workdir, result, (names, label, probs) in tested:
        predicted = metrics.predicted_class(probs, label)
        confusion += metrics.confusion_matrix(label, predicted, len(class_names))
        where = {"repeat": plan.repeat, "fold": plan.fold}
        kept = ("num_videos", "bad_videos", "video@1", "video@1_interval")
        runs.append(where | {key: result[key] for key in kept} | {"workdir": str(workdir.relative_to(root))})
        answers += [
            {
                "name": names[i],
                "group": groups.get(names[i], ""),
                "label": class_names[int(label[i])],
                "predicted": class_names[int(predicted[i])],
                "probability": float(probs[i, predicted[i]]),
            }
            | where
            for i in range(len(names))
        ]

    # The share of right answers about each video.
    right: dict[str, list[bool]] = defaultdict(list)
    label_of = {}
    for answer in answers:
        right[answer["name"]].append(answer["predicted"] == answer["label"])
        label_of[answer["name"]] = answer["label"]
    share = {name: float(np.mean(found)) for name, found in right.items()}
    by_class = {
        label: float(np.mean(found)) if (found := [share[name] for name in share if label_of[name] == label]) else None
        for label in class_names
    }
    correct = np.array(list(share.values()))
    return {
        "num_videos": len(share),
        "video@1": float(correct.mean()),
        "interval": accuracy_interval(correct, [groups.get(name, "") for name in share]),
        "mean_class": float(np.mean([found for found in by_class.values() if found is not None])),
        "class_accuracy": by_class,
        "confusion": confusion.tolist(),
        "folds": runs,
        "videos": answers,
    }


def _describe(config: Config, files: Sequence[VideoFile], folds: NumFolds, *, repeats: int, num_folds: int) -> str:
    """Returns how the numbers were measured."""
    num_groups = len({file.group for file in files} - {""})
    words = [
        f"{num_folds} folds{', one for each group' if folds == 'group' else ''}"
        + (f", {repeats} times with other seeds" if repeats > 1 else ""),
        f"groups kept together ({num_groups})" if num_groups else "without groups",
        f"seed {config.seed}",
        f"validation split of {config.val_share:.0%} of each class, from the training videos of a fold"
        if config.val_share
        else "no validation split",
        f"{config.test_view.describe()}; mean of softmax over opinions, clips and crops; newest checkpoint",
    ]
    return "; ".join(words)
