"""The section of a page about how a training went."""

from pathlib import Path

from vjax.html import charts
from vjax.html.page import Lines, Section
from vjax.training.writer import read_json_lines


def curves_section(workdir: Path) -> Section:
    """Returns the section with the curves of a run: loss, accuracy, learning rate and speed."""
    path = workdir / "metrics.jsonl"
    rows = read_json_lines(path) if path.exists() else []

    def series(*names: str) -> dict[str, list[tuple[float, float]]]:
        found = {name: [(row["step"], row[name]) for row in rows if name in row] for name in names}
        return {name: points for name, points in found.items() if points}

    panels = [
        ("loss", series("train/loss", "val/loss", "test/loss"), False),
        ("accuracy", series("train/clip@1", "val/video@1", "test/video@1"), True),
        ("learning rate", series("train/learning_rate"), False),
        ("clips per second", series("train/clips_per_s"), False),
    ]
    return Section(
        "curves",
        "How the training went",
        blocks=[
            Lines(
                [
                    charts.line_chart(
                        title,
                        found,
                        x_label="step",
                        unit_range=unit,
                        marked=[name for name in found if not name.startswith("train/")],
                    )
                    for title, found, unit in panels
                    if found
                ]
            )
        ],
    )
