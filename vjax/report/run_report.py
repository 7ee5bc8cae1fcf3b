"""The report of a run: data, curves, classes, motion, trust, examples, and what its first layer looks for."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vjax import workdirs
from vjax.data.video import Source
from vjax.errors import InputError
from vjax.evaluation.motion import describe_probes
from vjax.evaluation.predictions import TestPredictions, read_predictions
from vjax.evaluation.probes import PROBES
from vjax.evaluation.sections import MOST_CLASSES, classes_section, confusion_section
from vjax.html import charts
from vjax.html.page import (
    Lines,
    Section,
    Sentences,
    Table,
    render,
)
from vjax.probed import read_probes
from vjax.report.data_section import data_section
from vjax.report.examples import example_sections
from vjax.report.first_layer import first_layer_section
from vjax.text import Advance, show_nothing
from vjax.trained import Trained
from vjax.training.curves import curves_section

_PRECISIONS = (0.8, 0.9, 0.95, 0.99)


def report_run(trained: Trained, source: Source | str, *, advance: Advance = show_nothing) -> str:
    """Returns the report of a finished run as one HTML page.

    Args:
      trained: network of the run, as `load` returns it.
      source: videos of the run; or the reason why they cannot be opened, which the page then says.
      advance: progress callback; gets the number of examples that are done and the number of all.

    Raises:
      InputError: the run is not finished, has no predictions, or tested other videos than the source has.
    """
    workdir = trained.workdir
    result = workdirs.finished_result(workdir)
    if result is None:
        raise InputError(f"{workdir}: the run is not finished; run the training command again, then make the report")
    predictions = read_predictions(workdir)
    if not isinstance(source, str):
        check_videos(predictions, source)
    names = trained.class_names
    low, high = result["video@1_interval"]
    lead = (
        f"{type(trained.network).__name__} is right about {result['video@1']:.1%} of {result['num_videos']:,} test "
        f"videos (95 % interval {low:.1%} to {high:.1%}; chance {result['chance']:.1%})."
    )
    sections = [
        data_section(trained, result),
        curves_section(workdir),
        confusion_section(result["confusion"], names),
        classes_section(predictions.label, predictions.right, predictions.groups, names),
        *_motion_section(workdir, predictions, names),
        _trust_section(trained, result),
        *example_sections(trained, source, predictions, advance),
        *first_layer_section(trained, source),
    ]
    return render(
        title=f"{trained.workdir.name}: {trained.config.network.name} on {trained.config.source.name}",
        lead=lead,
        notes=result["notes"],
        sections=sections,
        footer=f"{result['protocol']}.",
    )


def check_videos(predictions: TestPredictions, source: Source) -> None:
    """Raises an InputError if the test videos of a source are not those that the predictions are of."""
    same = len(predictions.label) == len(source.test)
    if same and isinstance(source.test, list):
        same = predictions.names == [video.name for video in source.test]
    if not same:
        raise InputError("the test videos are not those that the run was tested on")


def _motion_section(workdir: Path, predictions: TestPredictions, names: Sequence[str]) -> Iterator[Section]:
    probed = read_probes(workdir, predictions)
    if probed is None:
        return
    found = describe_probes(
        predictions.right,
        {name: probed[name] for name in PROBES},
        label=predictions.label,
        groups=predictions.groups,
        class_names=names,
    )
    yield motion_section(found)


def motion_section(found: Mapping[str, Any]) -> Section:
    """Returns the section about what `describe_probes` has found."""
    rows = [
        (name, f"{of['video@1']:.3f}", f"{of['drop']:.3f}", "{:.3f} to {:.3f}".format(*of["drop_interval"]))
        for name, of in found["probes"].items()
    ]
    classes = sorted(found["classes"].items(), key=lambda item: item[1]["frozen"] - item[1]["normal"])[:MOST_CLASSES]
    keys = ("normal", *PROBES)
    left = len(found["classes"]) - len(classes)
    return Section(
        "motion",
        "Does it need motion?",
        f"Classes that are left out because they lose less: {left:,}." if left else "",
        [
            Sentences(found["verdict"]),
            Table("changed frames", ["frames", "video@1", "drop", "95 % interval"], rows),
            Table(
                "changed frames by class",
                ["class", "videos", *keys, "needs"],
                [
                    (name, f"{of['num_videos']:,}", *(f"{of[key]:.2f}" for key in keys), of["needs"])
                    for name, of in classes
                ],
            ),
        ],
    )


def _trust_section(trained: Trained, result: Mapping[str, Any]) -> Section:
    measured = [(row["probability"], row["accuracy"]) for row in result["reliability"]]
    blocks: list[Any] = [
        Lines(
            [
                charts.line_chart(
                    "accuracy of the videos that are predicted with a probability",
                    {"as often right as sure": [(0.0, 0.0), (1.0, 1.0)], "measured": measured},
                    x_label="probability",
                    unit_range=True,
                    marked=("measured",),
                )
            ]
        ),
        Sentences([f"Expected calibration error: {result['calibration_error']:.3f}."]),
    ]
    calibration = trained.calibration
    if calibration is not None:
        rows = []
        for precision in _PRECISIONS:
            try:
                threshold = f"{calibration.threshold(precision):.3f}"
            except InputError:
                threshold = "too few validation videos"
            rows.append((f"{precision:.0%}", threshold))
        blocks.append(Sentences([f"Temperature, fitted on the validation videos: {calibration.temperature:.2f}."]))
        blocks.append(Table("thresholds", ["precision", "none of these below"], rows))
    return Section("trust", "Is it as often right as it is sure?", blocks=blocks)
