"""Cards: what they claim about a network is what the network is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjax.models import NETWORKS
from vjax.models.backbones import BACKBONES
from vjax.models.card import Card, card_of, described, in_backbone, rounds_to
from vjax.models.cost import forward_cost
from vjax.models.registry import cards
from vjax.spec import Choice

# A row of every table with the network that its card describes.
DESCRIBED = {name: lambda k, name=name: NETWORKS[name](k) for name in NETWORKS} | {
    name: lambda k, name=name: NETWORKS["single_frame"](k, backbone=Choice(name)) for name in BACKBONES
}


@pytest.mark.parametrize("name", DESCRIBED)
def test_a_network_has_the_parameters_and_multiply_adds_of_its_card(name):
    card = cards()[name]
    found = forward_cost(DESCRIBED[name](card.num_classes), (*card.clip, 3))
    assert rounds_to(found.parameters, card.parameters), found
    assert rounds_to(found.multiply_adds, card.multiply_adds), found


def test_every_figure_says_how_it_was_measured_and_who_published_it():
    for name, card in cards().items():
        assert card.source, name
        for figure in (*card.figures, *card.measured):
            assert 0 < figure.percent < 100, figure
            assert re.fullmatch(r"(clip|video|image)@[15]", figure.metric), figure
            assert "clip" in figure.protocol, figure
            assert figure.source, figure


def test_the_names_of_published_weights_are_who_publishes_them_and_a_name():
    names = [weights.name for card in cards().values() for weights in card.weights]
    assert len(names) == len(set(names))
    for name in names:
        assert re.fullmatch(r"[a-z]\w*:[\w.-]+", name)


@given(st.integers(1, 10**12), st.integers(0, 9))
def test_a_published_number_is_as_precise_as_its_digits(counted, digits):
    assert round(counted, -digits) == 0 or rounds_to(counted, round(counted, -digits))
    assert not rounds_to(counted, counted + 1 if counted % 10 != 9 else counted + 2)


def test_a_class_does_not_inherit_the_card_of_its_base():
    card = Card("Base", "a paper", (8, 32, 32), 5, parameters=1, multiply_adds=1)

    @described(card)
    class Base: ...

    class Derived(Base): ...

    assert card_of(Base) is card
    assert card_of(Derived) is None
    assert card_of(len) is None


def test_the_names_of_a_backbone_are_those_of_its_variables_inside_a_network():
    inside = {"params": {"backbone": {"Conv_0": {"kernel": 0}}, "head": {"kernel": 1}}, "batch_stats": {}}
    names = in_backbone(lambda variables: {f"{kind}/Conv_0/kernel": "conv1.weight" for kind in variables})
    assert names(inside) == {"params/backbone/Conv_0/kernel": "conv1.weight"}
