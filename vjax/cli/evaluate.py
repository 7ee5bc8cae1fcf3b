"""`vjax evaluate`: evaluates a trained network on its test split."""

import argparse
import dataclasses
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vjax import workdirs
from vjax.cli.arguments import SOURCE_PREFIX, add_trained
from vjax.cli.output import print_metrics
from vjax.config_file import override_choice
from vjax.data.files import indexing_progress
from vjax.data.lost import describe_changes
from vjax.data.sources import SOURCES
from vjax.evaluation import metrics
from vjax.evaluation.evaluate import Evaluation
from vjax.evaluation.result import describe_result, lost_in
from vjax.json_files import write_json
from vjax.text import format_table
from vjax.trained import load


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "evaluate",
        help="evaluate a trained network on its test split",
        description="Evaluates a trained network on its test split; prints the metrics and a confusion matrix.",
    )
    add_trained(parser)
    parser.set_defaults(overridden=SOURCE_PREFIX)
    parser.epilog = (
        f"If the videos have moved, {SOURCE_PREFIX}root=DIR says where they are. DIR may also hold other videos of the "
        "same classes."
    )
    parser.add_argument(
        "--clips", type=int, metavar="N", help="number of clips per video (default: as in the config of the run)"
    )
    parser.add_argument(
        "--crops", type=int, choices=(1, 3), help="number of crops per clip (default: as in the config of the run)"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="also write all results to this JSON file, with the probabilities of every video"
    )
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Evaluates the network, prints the results and writes them to a file if asked for."""
    # The evaluation, with other clips and crops if asked for.
    trained = load(args.workdir, checkpoint=args.checkpoint)
    choice = None
    if overrides:
        choice = override_choice(trained.config.source, SOURCES, overrides, prefix=SOURCE_PREFIX)
    with indexing_progress(sys.stderr) as progress:
        source = trained.open_source(choice, advance=progress.advance)
    for line in describe_changes(source):
        print(line, file=sys.stderr)
    changes = {"num_clips": args.clips, "num_crops": args.crops}
    view = dataclasses.replace(trained.test_view, **{key: value for key, value in changes.items() if value is not None})
    evaluation = trained.evaluate(source, view)
    # The protocol, with a note if the run is not finished.
    checkpoint = f"{args.checkpoint} checkpoint"
    if args.checkpoint == "best":
        checkpoint += " by video@1 on the validation videos"
    if workdirs.finished_result(args.workdir) is None:
        checkpoint += f" of a run that is not finished, at step {int(trained.state.step)}"
        print(f"{args.workdir}: {checkpoint}; run the training command again to continue", file=sys.stderr)
    result = describe_result(evaluation, source, view, checkpoint=checkpoint)
    # The output.
    names = [source.test[i].name for i in range(len(source.test))]
    by_class = dict(zip(trained.class_names, evaluation.class_accuracy, strict=True))
    for bad in lost_in(evaluation, source, "test"):
        print(f"a video can no longer be read and counts as wrong: {bad.reason}", file=sys.stderr)
    print_metrics(result)
    print()
    width = shutil.get_terminal_size().columns
    print(describe_classes(trained.class_names, evaluation.confusion, by_class, width=width))
    for line in describe_wrong(names, trained.class_names, evaluation):
        print(line)
    if args.json:
        rows = [
            {
                "name": name,
                "label": trained.class_names[evaluation.label[i]],
                "probs": _by_name(trained.class_names, evaluation.probs[i]),
            }
            for i, name in enumerate(names)
        ]
        details = {"class_accuracy": by_class, "confusion": evaluation.confusion.tolist(), "videos": rows}
        write_json(args.json, result | {"class_names": list(trained.class_names)} | details)


def describe_classes(
    class_names: Sequence[str], confusion: np.ndarray, by_class: Mapping[str, float | None], *, width: int
) -> str:
    """Returns the confusion matrix as a table, or one line for each class if the matrix is wider than `width` columns.

    Args:
      class_names: names of the classes.
      confusion: counts `(k k)`; a row is the label, a column the prediction.
      by_class: accuracy of each class, None for a class without videos.
      width: columns of the terminal.
    """
    matrix = format_table(
        ["label \\ predicted", *class_names, "accuracy"],
        [[name, *map(int, counts), by_class[name]] for name, counts in zip(class_names, confusion, strict=True)],
    )
    if max(map(len, matrix.splitlines())) <= width:
        return matrix
    rows = []
    for label, (name, counts) in enumerate(zip(class_names, confusion, strict=True)):
        wrong = np.where(np.arange(len(counts)) == label, 0, counts)
        other = int(wrong.argmax())
        taken = f"{class_names[other]} ({wrong[other]})" if wrong[other] else None
        rows.append([name, int(counts.sum()), by_class[name], taken])
    return format_table(["label", "videos", "accuracy", "most often taken for"], rows)


def describe_wrong(
    names: Sequence[str], class_names: Sequence[str], evaluation: Evaluation, *, most: int = 10
) -> list[str]:
    """Returns a line for each video that was classified wrongly, the surest mistakes first; empty if there is none.

    Args:
      names: names of the test videos.
      class_names: names of the classes.
      evaluation: labels and probabilities of the test videos.
      most: largest number of videos.
    """
    label, predicted = evaluation.label, metrics.predicted_class(evaluation.probs, evaluation.label)
    wrong = [i for i in range(len(names)) if predicted[i] != label[i]]
    if not wrong:
        return []
    surest = sorted(wrong, key=lambda i: -evaluation.probs[i, predicted[i]])[:most]
    return [
        f"\nwrong about {len(wrong)} of {len(names)} videos, the surest mistakes first:",
        *(
            f"  {names[i]}: {class_names[predicted[i]]} ({evaluation.probs[i, predicted[i]]:.2f}), "
            f"not {class_names[label[i]]}"
            for i in surest
        ),
    ]


def _by_name(class_names: Sequence[str], probs: Any) -> dict[str, float]:
    return {name: float(p) for name, p in zip(class_names, probs, strict=True)}
