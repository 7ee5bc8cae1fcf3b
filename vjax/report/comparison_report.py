"""The report of a comparison or a cross-validation: the networks with their intervals, and links to the runs."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vjax import compare, cross_validation
from vjax.errors import InputError
from vjax.evaluation.sections import confusion_section
from vjax.evaluation.verdict import find_best
from vjax.html import charts
from vjax.html.page import Bars, Section, Sentences, Table, render
from vjax.json_files import read_json
from vjax.report.run_report import motion_section
from vjax.text import compact

RUN_REPORT = "report.html"  # in the work directory of a run


def is_comparison(workdir: Path) -> bool:
    """Returns whether a work directory is that of a comparison or a cross-validation, finished or not."""
    return (workdir / cross_validation.RESULT_FILE).exists() or any(workdir.glob("*/repeat_*"))


def report_comparison(workdir: Path, *, page: Path) -> str:
    """Returns the report of a finished comparison or cross-validation as one HTML page.

    A run is linked if it has a report of its own, `report.html` in its work directory.

    Args:
      workdir: work directory of the comparison.
      page: file that the page is written to, from which the links go.

    Raises:
      InputError: the comparison or the cross-validation is not finished.
    """
    if not (workdir / cross_validation.RESULT_FILE).exists():
        raise InputError(f"{workdir}: holds no finished comparison; run vjax compare or vjax crossval again")
    found = read_json(workdir / cross_validation.RESULT_FILE)
    compared = read_json(workdir / compare.RESULT_FILE) if (workdir / compare.RESULT_FILE).exists() else {}
    rows = {row["network"]: row for row in compared.get("networks", ())}
    if rows.keys() != {row["network"] for row in found["networks"]}:  # the comparison was stopped before its verdict
        compared, rows = {}, {}
    if compared:
        best = compared["networks"][find_best(compared["networks"])]
    else:
        best = max(found["networks"], key=lambda row: row["video@1"])
    lead = (
        f"{len(found['networks'])} networks on {found['num_videos']:,} videos: {best['network']} is right about "
        f"{best['video@1']:.1%}. Chance is {found['chance']:.1%}."
        if len(found["networks"]) > 1
        else f"{best['network']} is right about {best['video@1']:.1%} of {found['num_videos']:,} videos, each tested "
        f"by a run that has not seen it. Chance is {found['chance']:.1%}."
    )
    sections = [_networks_section(found, rows)]
    if compared:
        sections.insert(0, Section("verdict", "Verdict", blocks=[Sentences(compared["verdict"])]))
        named = motion_section(best["motion"])
        sections.append(Section(named.id, f"{named.title} ({best['network']})", named.text, named.blocks))
    for number, row in enumerate(found["networks"]):
        sections.append(_network_section(row, found, workdir, page, number))
    what = "networks compared" if len(found["networks"]) > 1 else "cross-validation"
    return render(title=f"{workdir.name}: {what}", lead=lead, sections=sections, footer=found["protocol"])


def _networks_section(found: Mapping[str, Any], rows: Mapping[str, Any]) -> Section:
    bars = [
        charts.bar(row["network"], row["video@1"], row["video@1_interval"], link=f"#network-{number}")
        for number, row in enumerate(found["networks"])
    ]
    blocks: list[Any] = [Bars("video@1 of each network", bars, found["chance"])]
    if rows:
        columns = [
            "network",
            "video@1",
            "mean class",
            "shuffled",
            "frozen",
            "parameters",
            "multiply-adds",
            "ms per clip",
        ]
        blocks.append(Table("networks", columns, list(_cost_rows(rows))))
    return Section("networks", "The networks", blocks=blocks)


def _cost_rows(rows: Mapping[str, Any]) -> Iterator[list[str]]:
    for name, row in rows.items():
        probes = row["motion"]["probes"]
        yield [
            name,
            f"{row['video@1']:.3f}",
            f"{row['mean_class']:.3f}",
            f"{probes['shuffled']['video@1']:.3f}",
            f"{probes['frozen']['video@1']:.3f}",
            compact(row["parameters"]),
            compact(row["multiply_adds"]),
            f"{row['ms_per_clip']:.2f}",
        ]


def _network_section(
    row: Mapping[str, Any], found: Mapping[str, Any], workdir: Path, page: Path, number: int
) -> Section:
    """Returns the section of one network: its folds and what it takes for what."""
    bars = []
    for run in row["folds"]:
        report = workdir / run["workdir"] / RUN_REPORT
        link = quote(Path(os.path.relpath(report, page.parent)).as_posix()) if report.exists() else ""
        name = run["workdir"].removeprefix(f"{row['network']}/")
        bars.append(charts.bar(name, run["video@1"], link=link))
    confusion = confusion_section(
        row["confusion"], found["class_names"], most_cells=charts.MAX_CELLS // len(found["networks"])
    )
    return Section(
        f"network-{number}",
        row["network"],
        "Each run on its own test videos, and all answers together.",
        [Bars(f"video@1 of each run of {row['network']}", bars), *confusion.blocks],
    )
