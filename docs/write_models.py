"""Writes docs/models.md, the page of networks and their published figures: python docs/write_models.py."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vjax.cli.models import described_as
from vjax.models import NETWORKS
from vjax.models.backbones import BACKBONES
from vjax.models.card import Card, Figure, Weights, card_of
from vjax.preprocessing import keys_of
from vjax.spec import Table
from vjax.text import compact

HEAD = """# The networks

This page lists what is published about each network; `vjax models` shows the same in the terminal. Both read the cards
of the networks in `vjax/models`, and `python docs/write_models.py` writes this page. Parameters and multiply-adds are
for the given clip (frames x height x width) and number of classes; a test counts them. Accuracies are in percent.
Published accuracies were measured by others, with their own programs. The last column has those measured with vjax; it
is empty if there are none. A star marks an accuracy of another form of the network, which the network's section names.
"""
OF_BACKBONES = "The numbers of a backbone are those of `single_frame` on it: one frame, and a classifier.\n"


def page() -> str:
    """Returns the page."""
    parts = [HEAD, _table(NETWORKS), "## Backbones\n", OF_BACKBONES, _table(BACKBONES), "## Each network\n"]
    seen: dict[str, str] = {}
    for table in (NETWORKS, BACKBONES):
        for name, factory in table.items():
            parts.append("\n".join(_section(name, factory, seen)))
    return "\n".join(parts)


def _table(table: Table[Any]) -> str:
    lines = [
        "| name | family | clip | classes | parameters | multiply-adds | published | measured |",
        "| --- | --- | --- | ---: | ---: | ---: | --- | --- |",
    ]
    for name, factory in table.items():
        card = card_of(factory)
        cells = ["", "", "", "", "", "", ""] if card is None else _cells(card)
        lines.append(f"| [`{name}`](#{name}) | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cells(card: Card) -> list[str]:
    return [
        card.family,
        " x ".join(map(str, card.clip)),
        str(card.num_classes),
        compact(card.parameters),
        compact(card.multiply_adds),
        _short(card.figures),
        _short(card.measured),
    ]


def _short(figures: tuple[Figure, ...]) -> str:
    """Returns the first figure; a star marks another form of the network."""
    return "".join(f"{one.percent:g}{'*' if one.form else ''} ({one.dataset}, {one.metric})" for one in figures[:1])


def _section(name: str, factory: Callable[..., Any], seen: dict[str, str]) -> Iterator[str]:
    """Yields the lines of a network; deviations that another network has too are not repeated."""
    yield f"### {name}\n"
    yield f"{described_as(factory)}\n"
    card = card_of(factory)
    if card is None:
        return
    origin = f"published: {card.cost_source}" if card.cost_source else "counted by vjax, not published"
    yield f"Source: {card.source}.\n"
    yield f"Cost: {card.parameters:,} parameters, {card.multiply_adds:,} multiply-adds of a clip ({origin}).\n"
    yield from _figures("published", card.figures)
    yield from _figures("measured with vjax", card.measured)
    for weights in card.weights:
        yield f"- weights `{weights.name}`: {_described(weights)}"
    if card.figures or card.measured or card.weights:
        yield ""
    first = seen.setdefault(card.deviations, name)
    if card.deviations:
        link = f"as [`{first}`](#{first})."
        yield f"Deviations: {card.deviations if first == name else link}\n"


def _figures(what: str, figures: tuple[Figure, ...]) -> Iterator[str]:
    for figure in figures:
        form = f"; of another form: {figure.form}" if figure.form else ""
        said = f"{figure.percent:g} {figure.metric} on {figure.dataset}, {figure.protocol}"
        yield f"- {what}: {said} ({figure.source}{form})"


def _described(weights: Weights) -> str:
    stated = ", ".join(f"`{key}={value}`" for key, value in keys_of(weights.preprocessing) if value is not None)
    place = f"in the package `{weights.package}`" if weights.package else f"[{weights.file}]({weights.source})"
    return f"{weights.dataset}, {weights.num_classes} classes, {place}; preprocessing {stated or 'not stated'}"


if __name__ == "__main__":
    Path(__file__).with_name("models.md").write_text(page())
