"""`vjax models`: lists the networks with what is published about them."""

import argparse
import dataclasses
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax.linen as nn

from vjax.errors import InputError
from vjax.models import NETWORKS
from vjax.models.backbones import BACKBONES
from vjax.models.card import Card, Figure, card_of
from vjax.models.cost import forward_cost
from vjax.models.registry import matches
from vjax.preprocessing import keys_of
from vjax.spec import Choice, check_names
from vjax.text import compact, format_table, terminal_width, wrap

_COLUMNS = ("family", "clip", "params", "MAdds", "published")


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "models",
        help="list the networks with their published figures",
        description="Lists the networks and backbones: parameters and multiply-adds of one clip, and the published "
        "accuracy in percent with its protocol. Prints everything about a network if the filter leaves only that one.",
    )
    parser.add_argument(
        "filter", nargs="?", default="", metavar="FILTER", help="only networks whose name or family contains this text"
    )
    parser.add_argument("--json", action="store_true", help="print JSON with everything about each network")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, _: Sequence[str]) -> None:
    """Prints a table of the networks and one of the backbones; if the filter leaves only one, everything about it."""
    tables = {"network": NETWORKS, "backbone": BACKBONES}
    found = {kind: select(table, args.filter) for kind, table in tables.items()}
    rows = [(kind, name) for kind, names in found.items() for name in names]
    if not rows:
        raise InputError(f"no network or backbone has {args.filter!r} in its name or family; vjax models lists all")
    if args.json:
        print(json.dumps([as_json(kind, name, tables[kind][name]) for kind, name in rows], indent=2))
        return
    lines = detail(*rows[0], tables[rows[0][0]][rows[0][1]]) if len(rows) == 1 else overview(found)
    for line in lines:
        print(line if line.startswith("|") else wrap(line, width=terminal_width(), hang=2))


def select(table: dict[str, Callable[..., Any]], filter: str) -> list[str]:
    """Returns the names of a table that a filter leaves; a complete name leaves itself alone."""
    return [filter] if filter in table else [name for name, factory in table.items() if matches(name, factory, filter)]


def overview(found: dict[str, list[str]]) -> Iterator[str]:
    """Yields a table for each kind of network, and the protocols of the figures in it."""
    protocols: dict[str, int] = {}
    for kind, names in found.items():
        rows = [_row(name, card, protocols) for name, card in _cards_of(kind, names)]
        if rows:
            yield format_table([kind, *_COLUMNS], rows)
            yield ""
    for kind, names in found.items():
        for name, card in _cards_of(kind, names):
            for figure in card.measured if card else ():
                yield f"measured with vjax: {name} {_numbered(figure, protocols)}"
    for protocol, number in protocols.items():
        yield f"({number}) {protocol}"
    yield "MAdds are the multiply-adds of one clip."
    if any("*" in protocol for protocol in protocols):
        yield "* marks an accuracy of another form of the network; its protocol says which."
    if found["backbone"]:
        yield "The numbers of a backbone are those of the single-frame network on it."


def detail(kind: str, name: str, factory: Callable[..., Any]) -> Iterator[str]:
    """Yields everything about one network or backbone, in paragraphs."""
    yield f"{name}: {described_as(factory)}"
    card = card_of(factory)
    if card is None:
        yield "It has no card."
        return
    counted = forward_cost(*network_of_card(name))
    published = f" (published: {card.parameters:,} and {card.multiply_adds:,}; {card.cost_source})"
    yield f"family: {card.family}"
    yield f"source: {card.source}"
    yield f"input: {_clip(card)} (frames x height x width); the numbers are for {card.num_classes} classes"
    yield (
        f"cost: {counted.parameters:,} parameters, {counted.multiply_adds:,} multiply-adds of a clip"
        f"{published if card.cost_source else ''}"
    )
    for figure in card.figures:
        yield f"published: {figure.percent:g} % {_protocol(figure)}"
    for figure in card.measured:
        yield f"measured with vjax: {figure.percent:g} % {_protocol(figure)}"
    for weights in card.weights:
        stated = [f"{key}={value}" for key, value in keys_of(weights.preprocessing) if value is not None]
        yield f"weights: {weights.name}, {weights.dataset}, {weights.num_classes} classes ({weights.source})"
        yield f"  their preprocessing: {', '.join(stated) or 'not stated'}"
    if card.deviations:
        yield f"deviations: {card.deviations}"


def as_json(kind: str, name: str, factory: Callable[..., Any]) -> dict[str, Any]:
    """Returns everything about one network or backbone as plain data."""
    card = card_of(factory)
    row = {"name": name, "kind": kind, "description": described_as(factory)}
    if card is None:
        return row
    named = dataclasses.replace(card, torch_names=None)  # a function is no data
    return row | dataclasses.asdict(named) | {"torch_names": card.torch_names is not None}


def described_as(factory: Callable[..., Any]) -> str:
    """Returns the first line of a factory's docstring."""
    line = (inspect.getdoc(factory) or "").partition("\n")[0].removeprefix("Returns ")
    return line[:1].upper() + line[1:]


def _cards_of(kind: str, names: Sequence[str]) -> list[tuple[str, Card | None]]:
    table = NETWORKS if kind == "network" else BACKBONES
    return [(name, card_of(table[name])) for name in names]


def _row(name: str, card: Card | None, protocols: dict[str, int]) -> list[str | None]:
    """Returns a row of the table; the protocol of a figure gets a number."""
    if card is None:
        return [name, *[None] * len(_COLUMNS)]
    published = _numbered(card.figures[0], protocols) if card.figures else None
    return [name, card.family, _clip(card), compact(card.parameters), compact(card.multiply_adds), published]


def _numbered(figure: Figure, protocols: dict[str, int]) -> str:
    """Returns an accuracy with the number of its protocol, and a star if the network has another form."""
    number = protocols.setdefault(_protocol(figure), len(protocols) + 1)
    return f"{figure.percent:g}{'*' if figure.form else ''} ({number})"


def _protocol(figure: Figure) -> str:
    form = f"; *{figure.form}" if figure.form else ""
    return f"{figure.dataset} {figure.metric}: {figure.protocol}; {figure.source}{form}"


def _clip(card: Card) -> str:
    return "x".join(map(str, card.clip))


def network_of_card(name: str, *, num_classes: int | None = None) -> tuple[nn.Module, tuple[int, ...]]:
    """Returns a network by name, or the single-frame network on a backbone, and the clip `(t h w c)` on its card.

    Args:
      name: a name of `NETWORKS` or `BACKBONES`.
      num_classes: number of classes; that on the card if not given.

    Raises:
      InputError: the name is unknown, the network has no card, or there are no classes.
    """
    check_names([name], [*NETWORKS, *BACKBONES], what="network or backbone")
    table, choice = (
        (NETWORKS, Choice(name)) if name in NETWORKS else (BACKBONES, Choice("single_frame", backbone=Choice(name)))
    )
    card = card_of(table[name])
    if card is None:
        raise InputError(f"{name} has no card, which says for which clips it is; use a config: --config FILE")
    num_classes = card.num_classes if num_classes is None else num_classes
    if num_classes < 1:
        raise InputError(f"a network needs 1 class or more, got {num_classes}")
    return NETWORKS.create(choice, num_classes=num_classes), (*card.clip, 3)
