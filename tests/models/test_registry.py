"""The registry: names, cards and weights of all networks."""

import dataclasses

import jax
import pytest

import vjax
from vjax.models import NETWORKS
from vjax.models.card import Weights, card_of, described
from vjax.models.registry import cards, list_models, published_weights, torch_names_of
from vjax.spec import Choice


def test_all_networks_are_listed_in_the_order_of_the_table():
    assert list_models() == list(NETWORKS)


@pytest.mark.parametrize("text", ["karpathy", "KARPATHY_"])
def test_a_filter_finds_names_and_families(text):
    assert list_models(text) == ["karpathy_single", "karpathy_early", "karpathy_late", "karpathy_slow"]
    assert list_models("no such network") == []


def shapes_of(choice):
    network = NETWORKS.create(choice, num_classes=5)
    clips = jax.ShapeDtypeStruct((1, 4, 16, 16, 3), "float32")
    return jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), clips)


def test_a_fusion_network_has_the_names_of_its_backbone():
    shapes = shapes_of(Choice("slow_fusion", backbone=Choice("resnet18")))
    names = torch_names_of(Choice("slow_fusion", backbone=Choice("resnet18")))(shapes)
    of_the_whole = torch_names_of(Choice("r3d_18"))(shapes_of(Choice("r3d_18")))
    assert names == {name: theirs for name, theirs in of_the_whole.items() if "head" not in name}
    assert len(names) > 50


def test_the_card_of_the_network_comes_before_that_of_its_backbone(monkeypatch):
    mine = dataclasses.replace(cards()["slow_fusion"], torch_names=lambda variables: {"params/a": "a"})
    monkeypatch.setitem(NETWORKS, "mine", described(mine)(lambda num_classes, *, backbone: None))
    assert torch_names_of(Choice("mine", backbone=Choice("resnet18")))({}) == {"params/a": "a"}


def test_a_network_without_names_has_none():
    assert torch_names_of(Choice("slow_fusion", backbone=Choice("small"))) is None
    assert torch_names_of(Choice("c3d")) is None


def test_weights_on_the_card_of_a_network_from_outside_are_found(monkeypatch):
    weights = Weights("mine:a", "a.pth", 5, "ours", "https://example.org/a.pth")
    card = dataclasses.replace(card_of(NETWORKS["r3d_18"]), weights=(weights,))
    monkeypatch.setitem(NETWORKS, "mine", described(card)(lambda num_classes: None))
    assert published_weights()["mine:a"] is weights
    assert published_weights()["torchvision:r3d_18"].file == "r3d_18-b3b3357e.pth"


def test_the_list_of_networks_is_public():
    assert vjax.list_models("r3d") == ["r3d_18", "r3d_34", "r3d_50"]
