"""The data card: what the doctor has found about a dataset, as a page that travels with it."""

import os
from collections.abc import Iterator, Mapping

from vjax.data.doctor import Examined
from vjax.data.pages import first_of_classes
from vjax.data.splits import SPLITS
from vjax.data.video import Video
from vjax.html.page import Block, Figures, Section, Sentences, Table, render
from vjax.text import count

_MOST_CLASSES = 500  # rows
_SHOWN = 24  # classes of which a video is shown


def data_card(found: Examined, *, name: str, root: str, made_with: Mapping[str, str]) -> str:
    """Returns the card as one HTML page that holds everything it shows, and no path outside of the data.

    Args:
      found: findings about the dataset.
      name: name of the dataset.
      root: folder of the dataset, which texts do not name.
      made_with: names and values that say how the card was made, such as the date.
    """
    facts = found.facts
    sections = [
        Section("facts", "What it is", "", [Table("facts", ["", "value"], _facts(found, root, made_with))]),
        Section(
            "classes",
            "Its classes",
            _left_out(len(facts["classes"]) - _MOST_CLASSES),
            [Table("videos", ["class", *SPLITS, "all"], list(_classes(facts["classes"]))), *_pictures(found)],
        ),
        Section(
            "problems",
            "What to know before you use it",
            "" if found.problems else "The doctor has found no problem.",
            [Sentences([_without_root(problem, root) for problem in found.problems])] if found.problems else [],
        ),
    ]
    return render(
        title=name,
        lead=f"{count(facts['num_videos'], 'video')} of {count(len(facts['classes']), 'class', 'classes')}, "
        f"{facts['hours']:.2f} hours.",
        sections=sections,
        footer="Every video was decoded to count its frames, and was compared with all others. vjax data-card made "
        "this page.",
    )


def _facts(found: Examined, root: str, made_with: Mapping[str, str]) -> list[tuple[str, str]]:
    groups = {file.group for file in found.files if file.group}
    how = "proposed: videos that seem to be of one camera and place" if "places" in found.facts else "given"
    rows = {**found.rows(), "groups": f"{len(groups):,} ({how})" if groups else "none", **made_with}
    return [(name, _without_root(value, root)) for name, value in rows.items()]


def _classes(classes: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[str, ...]]:
    for name, of_class in list(classes.items())[:_MOST_CLASSES]:
        yield name, *(f"{of_class[split]:,}" for split in SPLITS), f"{sum(of_class.values()):,}"


def _left_out(number: int) -> str:
    return f"{count(number, 'class', 'classes')} more are left out of the table." if number > 0 else ""


def _pictures(found: Examined) -> Iterator[Block]:
    """Yields a moving picture of the first video of each of the first classes."""
    # In the order of the classes in the table; sorting keeps the order of the videos of a class.
    order = sorted(range(len(found.files)), key=lambda position: found.files[position].label)

    def read(position: int) -> tuple[str, Video]:
        return found.files[order[position]].label, found.videos[order[position]]

    if pictures := list(first_of_classes(read, len(order), most=_SHOWN)):
        yield Figures(pictures)


def _without_root(text: str, root: str) -> str:
    """Returns a text whose paths begin in the folder of the dataset."""
    for folder in {root, os.path.abspath(os.path.expanduser(root))}:
        text = text.replace(f"{folder.rstrip('/')}/", "")
    return text
