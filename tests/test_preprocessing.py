"""The preprocessing that belongs to weights, in the config of a run."""

import dataclasses

import pytest
from processes import CONFIG

import vjax
from vjax import typed
from vjax.cli.main import main
from vjax.errors import InputError
from vjax.models import NETWORKS
from vjax.models.card import Preprocessing, Weights, card_of, described
from vjax.preprocessing import bind_preprocessing, keys_of, list_differences

TORCHVISION = "--config.init.weights=torchvision:r3d_18=x.pth"


def config_with(*overrides):
    return vjax.load_config(str(CONFIG), [*overrides])


@pytest.fixture
def mine(monkeypatch):
    def add(**stated):
        weights = Weights("mine:a", "a.pth", 5, "ours", "https://example.org", Preprocessing(**stated))
        card = dataclasses.replace(card_of(NETWORKS["r3d_18"]), weights=(weights,))
        monkeypatch.setitem(NETWORKS, "mine", described(card)(lambda num_classes: None))

    return add


def test_the_keys_of_published_weights_replace_those_of_the_config_and_each_is_said():
    config = config_with(
        TORCHVISION, "--config.clip.fps=none", "--config.clip.stride=2", "--config.clip.size=(100,112)"
    )
    bound, said = bind_preprocessing(config)
    assert (bound.clip.num_frames, bound.clip.fps, bound.clip.stride, bound.size) == (16, 15.0, None, (112, 112))
    assert bound.test_view.crop_share == 0.875
    assert bound.normalization.mean == (0.43216, 0.394666, 0.37645)
    start = "preprocessing of torchvision:r3d_18: "
    assert f"{start}clip.fps is 15.0 instead of None" in said
    assert f"{start}clip.stride is None instead of 2" in said
    assert f"{start}clip.size is (112, 112) instead of (100, 112)" in said
    assert f"{start}test.crop_share is 0.875 instead of 1.0" in said
    assert len(said) == 6


def test_vjax_config_shows_what_a_run_would_use(capsys):
    assert main(["config", str(CONFIG), TORCHVISION]) == 0
    shown = capsys.readouterr()
    assert "test.crop_share = 0.875  (default: 1.0)" in shown.out
    assert "preprocessing of torchvision:r3d_18: test.crop_share is 0.875 instead of 1.0" in shown.err


def test_bound_twice_is_bound_once():
    bound, _ = bind_preprocessing(config_with(TORCHVISION))
    assert bind_preprocessing(bound) == (bound, ())


def test_a_size_in_one_number_is_the_same_as_in_two():
    bound, said = bind_preprocessing(config_with(TORCHVISION, "--config.clip.size=112"))
    assert bound.clip.size == 112
    assert not [line for line in said if "clip.size" in line]


def test_what_weights_do_not_state_stays_that_of_the_config(mine):
    mine(mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    config = config_with("--config.init.weights=mine:a=x.pth")
    bound, said = bind_preprocessing(config)
    assert len(said) == 2
    assert bound.clip == config.clip
    assert bound.test == config.test
    assert bound.normalization.std == (0.2, 0.2, 0.2)


def test_the_config_keeps_its_own_if_it_says_so_and_the_differences_are_said():
    config = config_with(TORCHVISION, "--config.init.preprocessing=config")
    bound, said = bind_preprocessing(config)
    assert bound == config
    assert "other preprocessing than that of torchvision:r3d_18: test.crop_share is 1.0, not 0.875" in said


@pytest.mark.parametrize("weights", ["", "x.pth", "runs/other"])
def test_nothing_changes_without_published_weights(weights):
    config = config_with(f"--config.init.weights={weights}")
    assert bind_preprocessing(config) == (config, ())


def test_a_name_of_no_weights_is_an_error():
    with pytest.raises(InputError, match="weights does not know 'torchvision:c3d'"):
        bind_preprocessing(config_with("--config.init.weights=torchvision:c3d=x"))


def test_every_field_of_a_preprocessing_is_a_key_of_the_config():
    stated = Preprocessing(8, 4.0, (32, 48), 0.5, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    keys = dict(keys_of(stated))
    assert list(keys.values())[:6] == list(dataclasses.astuple(stated))
    plain = typed.as_plain(config_with())
    for key in keys:
        section, _, name = key.partition(".")
        assert name in plain[section]


def test_the_differences_of_two_configs_are_named():
    here = config_with("--config.clip.fps=15")
    assert list_differences(config_with(), here) == [f"clip.fps {config_with().clip.fps!r} there, 15.0 here"]
    assert list_differences(here, here) == []
