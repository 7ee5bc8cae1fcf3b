"""The data card: what the doctor has found about a dataset, as a page that travels with it."""

import os
import re
from collections.abc import Iterator, Mapping

from vjax.data.doctor import Examined
from vjax.data.pages import first_of_classes
from vjax.data.splits import SPLITS, without_place
from vjax.data.video import Video
from vjax.html.page import Block, Figures, Section, Sentences, Table, render
from vjax.text import count

_MOST_CLASSES = 500  # rows
_SHOWN = 24  # classes of which a video is shown


def data_card(found: Examined, *, name: str, root: str, kept_split: str, made_with: Mapping[str, str]) -> str:
    """Returns the card as one HTML page that holds everything it shows, and no path outside of the data.

    Args:
      found: findings about the dataset.
      name: name of the dataset.
      root: folder, manifest or store of the dataset.
      kept_split: place of the split that was kept; empty for none.
      made_with: names and values that say how the card was made, such as the date.
    """
    facts = found.facts

    def plain(text: str) -> str:
        return _without_paths(text, found, root=root, kept_split=kept_split)

    sections = [
        Section(
            "facts",
            "What it is",
            "",
            [Table("facts", ["", "value"], [(name, plain(value)) for name, value in _facts(found, made_with).items()])],
        ),
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
            [Sentences([plain(problem) for problem in found.problems])] if found.problems else [],
        ),
    ]
    return render(
        title=name,
        lead=f"{count(facts['num_videos'], 'video')} of {count(len(facts['classes']), 'class', 'classes')}, "
        f"{facts['hours']:.2f} hours.",
        sections=sections,
        footer="vjax data-card made this page. Every video was compared with all others.",
    )


def _facts(found: Examined, made_with: Mapping[str, str]) -> dict[str, str]:
    groups = {file.group for file in found.files if file.group}
    how = "proposed: videos that seem to be of one camera and place" if found.facts["places"] else "given"
    return {
        **found.rows(),
        "groups": f"{len(groups):,} ({how})" if groups else "none",
        "clip that the problems assume": found.facts["clip"],
        **made_with,
    }


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


def _without_paths(text: str, found: Examined, *, root: str, kept_split: str) -> str:
    """Returns a text whose paths begin in the folder of the dataset."""
    # A reason begins with the path of its video, and a store keeps the reasons of the place where it was prepared.
    for bad in found.facts["unreadable"]:
        reason = bad["reason"]
        text = text.replace(reason, reason[max(0, reason.find(bad["name"])) :])
    for folder in (os.path.abspath(os.path.expanduser(root)), root):
        if folder.strip("./"):  # neither the folder here nor the root of the file system
            text = re.sub(rf"(?<![^\s'\"(]){re.escape(folder.rstrip('/'))}(/|(?=[:\s]|$))", "", text)
    return without_place(text, kept_split)
