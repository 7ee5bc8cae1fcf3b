"""`vjax evaluate`: evaluates a trained network on its test split."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from vjax import workdirs
from vjax.cli.arguments import SOURCE_PREFIX, add_trained
from vjax.cli.output import print_result, probe_tables, reliability_table
from vjax.config_file import override_choice
from vjax.data.files import indexing_progress
from vjax.data.lost import describe_changes
from vjax.data.sources import SOURCES
from vjax.data.video import groups_of
from vjax.evaluation.figures import draw_confusion, write_figure
from vjax.evaluation.motion import describe_probes
from vjax.evaluation.probes import PROBES
from vjax.evaluation.result import describe_result, lost_in
from vjax.json_files import check_writable, write_json
from vjax.text import printable, terminal_width
from vjax.trained import load


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "evaluate",
        help="evaluate a trained network on its test split",
        description="Evaluates a trained network on its test split; prints the metrics, a table of the classes, and "
        "the wrong videos.",
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
    parser.add_argument(
        "--probes",
        action="store_true",
        help="also evaluate on shuffled, reversed, frozen (one frame repeated) and thinned frames, which shows whether "
        "the network needs motion",
    )
    parser.add_argument("--png", metavar="FILE", help="also draw the confusion matrix as this PNG picture")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Evaluates the network, prints the results and writes them to a file if asked for."""
    for path in filter(None, (args.json, args.png)):
        check_writable(path)
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
    result = describe_result(
        evaluation,
        source,
        view,
        checkpoint=checkpoint + workdirs.describe_longer(trained.workdir),
        calibration=trained.calibration,
    )
    # The output.
    for bad in lost_in(evaluation, source, "test"):
        print(f"a video can no longer be read and counts as wrong: {bad.reason}", file=sys.stderr)
    print_result(result)
    print(f"\n{reliability_table(result)}")
    if args.probes:
        found = describe_probes(
            evaluation.correct,
            {name: trained.evaluate(source, view, probe=probe).correct for name, probe in PROBES.items()},
            label=evaluation.label,
            groups=groups_of(source.test),
            class_names=trained.class_names,
        )
        print(printable(f"\n{probe_tables(found, result, width=terminal_width())}"))
        result |= {"motion": found}
    if args.json:
        rows = [
            {
                "name": source.test[i].name,
                "label": trained.class_names[evaluation.label[i]],
                "probs": _by_name(trained.class_names, evaluation.probs[i]),
            }
            for i in range(len(source.test))
        ]
        write_json(args.json, result | {"videos": rows})
    if args.png:
        write_figure(args.png, draw_confusion(result["confusion"], trained.class_names))


def _by_name(class_names: Sequence[str], probs: Any) -> dict[str, float]:
    return {name: float(p) for name, p in zip(class_names, probs, strict=True)}
