"""What is known about the networks of `NETWORKS` and `BACKBONES`: their names, cards, and published weights."""

from collections.abc import Callable
from typing import Any

from vjax.models import NETWORKS
from vjax.models.backbones import BACKBONES
from vjax.models.card import Card, TorchNames, Weights, card_of, in_backbone
from vjax.spec import Choice


def list_models(filter: str = "") -> list[str]:
    """Returns the names of the networks in `NETWORKS`.

    Args:
      filter: text that a name, or the family on the network's card, contains; upper and lower case are the same.

    >>> list_models("r(2+1)d")
    ['r2plus1d_18']
    """
    return [name for name, factory in NETWORKS.items() if matches(name, factory, filter)]


def matches(name: str, factory: Callable[..., Any], filter: str) -> bool:
    """Returns whether a name, or the family on the card of its factory, contains a text."""
    card = card_of(factory)
    return any(filter.lower() in text.lower() for text in (name, card.family if card else ""))


def torch_names_of(choice: Choice) -> TorchNames | None:
    """Returns the names that a choice of network has in PyTorch, or None if it has none.

    They are those on the network's own card, else those on the card of its backbone.
    """
    card = card_of(NETWORKS[choice.name])
    if card is not None and card.torch_names is not None:
        return card.torch_names
    backbone = choice.options.get("backbone")
    card = card_of(BACKBONES[backbone.name]) if isinstance(backbone, Choice) else None
    return in_backbone(card.torch_names) if card is not None and card.torch_names is not None else None


def cards() -> dict[str, Card]:
    """Returns the cards of all networks and backbones that have one, by name."""
    found = {name: card_of(factory) for table in (NETWORKS, BACKBONES) for name, factory in table.items()}
    return {name: card for name, card in found.items() if card is not None}


def published_weights() -> dict[str, Weights]:
    """Returns the weights on all cards, by name."""
    return {weights.name: weights for card in cards().values() for weights in card.weights}


def network_of(weights: Weights) -> Choice:
    """Returns the network with published weights on its card, or single frame on the backbone with them on its card."""
    for name, factory in NETWORKS.items():
        if (card := card_of(factory)) is not None and weights in card.weights:
            return Choice(name)
    (backbone,) = [name for name, card in cards().items() if weights in card.weights]
    return Choice("single_frame", backbone=Choice(backbone))
