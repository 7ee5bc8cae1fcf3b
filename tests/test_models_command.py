"""`vjax models`, and the page that is made from the same cards."""

import dataclasses
import json

import pytest

from vjax.cli.main import main
from vjax.models import NETWORKS
from vjax.models.backbones import BACKBONES
from vjax.models.card import Figure, card_of, described
from vjax.models.registry import cards


def printed(capsys, *words):
    assert main(["models", *words]) == 0
    return capsys.readouterr().out


def test_the_table_has_a_row_of_80_columns_for_every_network_and_backbone(capsys):
    shown = printed(capsys)
    assert max(map(len, shown.splitlines())) <= 80
    names = [line.split()[1] for line in shown.splitlines() if line.startswith("| ")]
    assert [name for name in names if name not in ("network", "backbone") and set(name) != {"-"}] == (
        [*NETWORKS, *BACKBONES]
    )


def test_the_protocol_of_a_figure_is_below_the_table(capsys):
    lines = printed(capsys, "r(2").splitlines()
    assert lines[0].startswith("r2plus1d_18: R(2+1)D-18")
    shown = " ".join(printed(capsys, "18").split())
    assert "| r3d_18 | R3D | 16x112x112 | 33.4 M | 40.7 G | 63.2 (1) |" in shown
    assert "(1) Kinetics-400 video@1: 5 clips x 1 crop of 16 frames at 15 fps, 112 x 112; torchvision" in shown


def test_a_figure_of_another_form_has_a_star(capsys):
    shown = " ".join(printed(capsys, "fusion").split())
    assert "| 60.9* (1) |" in shown
    assert "* marks an accuracy of another form of the network" in shown


def test_everything_about_one_network_is_shown(capsys):
    shown = " ".join(printed(capsys, "mc3_18").split())
    for said in (
        "cost: 11,695,440 parameters, 43,342,635,008 multiply-adds of a clip",
        "(published: 11,695,440 and 43,343,000,000; torchvision",
        "published: 63.96 % Kinetics-400 video@1: 5 clips",
        "weights: torchvision:mc3_18, Kinetics-400, 400 classes",
        "clip.fps=15.0",
        "deviations: Kernels are drawn",
    ):
        assert said in shown


def test_a_complete_name_leaves_one_even_if_others_contain_it(capsys, monkeypatch):
    monkeypatch.setitem(NETWORKS, "c3d_wide", NETWORKS["c3d"])
    assert printed(capsys, "c3d").startswith("c3d: C3D")


def test_json_has_every_field_of_every_card(capsys):
    found = {row["name"]: row for row in json.loads(printed(capsys, "--json"))}
    assert list(found) == [*NETWORKS, *BACKBONES]
    for name, card in cards().items():
        assert found[name].keys() >= {field.name for field in dataclasses.fields(card)}
        assert [figure["percent"] for figure in found[name]["figures"]] == [figure.percent for figure in card.figures]
    assert (found["r3d_18"]["torch_names"], found["c3d"]["torch_names"]) == (True, False)


def test_what_was_measured_with_vjax_is_shown_with_its_protocol(capsys, monkeypatch):
    figure = Figure("ours", "video@1", 12.5, "2 clips x 1 crop", "vjax evaluate")
    measured = dataclasses.replace(card_of(NETWORKS["c3d"]), family="mine", measured=(figure,))
    for name in ("mine_a", "mine_b"):
        monkeypatch.setitem(NETWORKS, name, described(measured)(lambda num_classes: None))
    assert "measured with vjax: mine_a 12.5 (2)" in printed(capsys, "mine")


def test_a_network_without_a_card_is_listed_without_numbers(capsys, monkeypatch):
    monkeypatch.setitem(NETWORKS, "plain_a", lambda num_classes: None)
    monkeypatch.setitem(NETWORKS, "plain_b", lambda num_classes: None)
    assert "| plain_a | - | - |" in " ".join(printed(capsys, "plain_").split())
    assert "has no card" in printed(capsys, "plain_a")


def test_a_filter_that_finds_nothing_is_an_error(capsys):
    assert main(["models", "transformer"]) == 2
    assert "no network or backbone has 'transformer' in its name or family" in capsys.readouterr().err


@pytest.mark.parametrize("name", [*NETWORKS, *BACKBONES])
def test_a_card_names_nothing_that_is_longer_than_its_column(name):
    card = cards()[name]
    assert len(card.family) <= 12
    assert len(name) <= 20
