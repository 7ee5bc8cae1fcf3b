"""The HTML page of a report: sections of blocks, each block a kind of plain data that a template draws."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from vjax.html.charts import Bar, LineChart, Matrix


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; its first column holds the names of the rows."""

    label: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: str = "table"


@dataclasses.dataclass(frozen=True)
class Lines:
    """Line charts side by side."""

    charts: Sequence[LineChart]
    kind: str = "lines"


@dataclasses.dataclass(frozen=True)
class Bars:
    """Bars of accuracies, with a line at chance."""

    label: str
    bars: Sequence[Bar]
    chance: float | None = None
    kind: str = "bars"


@dataclasses.dataclass(frozen=True)
class Confusion:
    """A confusion matrix."""

    matrix: Matrix
    kind: str = "matrix"


@dataclasses.dataclass(frozen=True)
class Example:
    """One video: clips `(label, data URI)` and charts of it."""

    title: str
    name: str
    clips: Sequence[tuple[str, str]]
    charts: Sequence[LineChart] = ()


@dataclasses.dataclass(frozen=True)
class Examples:
    """Several videos side by side."""

    examples: Sequence[Example]
    kind: str = "examples"


@dataclasses.dataclass(frozen=True)
class Figures:
    """Pictures and moving pictures `(label, data URI)`."""

    figures: Sequence[tuple[str, str]]
    kind: str = "figures"


@dataclasses.dataclass(frozen=True)
class Sentences:
    """Sentences in a list."""

    texts: Sequence[str]
    kind: str = "sentences"


@dataclasses.dataclass(frozen=True)
class Command:
    """A command to copy."""

    text: str
    kind: str = "command"


Block = Table | Lines | Bars | Confusion | Examples | Figures | Sentences | Command


@dataclasses.dataclass(frozen=True)
class Section:
    """One section of a page.

    Attributes:
      id: name in the page's address.
      title: heading.
      text: paragraph below the heading; empty for none.
      blocks: contents.
    """

    id: str
    title: str
    text: str = ""
    blocks: Sequence[Block] = ()


def render(*, title: str, lead: str, sections: Sequence[Section], notes: Sequence[str] = (), footer: str = "") -> str:
    """Returns a page as HTML that holds everything it shows; all texts are escaped."""
    context = {"title": title, "lead": lead, "sections": sections, "notes": notes, "footer": footer}
    return _render("page.html", context)


def render_fragment(*, title: str, sections: Sequence[Section]) -> str:
    """Returns a part of a page, for a notebook; its styles hold inside it, it has no script, and texts are escaped."""
    return _render("fragment.html", {"title": title, "sections": sections})


def _render(template: str, context: Mapping[str, Any]) -> str:
    import jinja2  # imported here, because only pages need it

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vjax.html"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(context).lstrip()
