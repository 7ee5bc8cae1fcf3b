"""What a stranger brings: a network, a source, a metric, a writer, an optimizer, none of which vjax knows."""

import dataclasses
import functools
import io
import json
from pathlib import Path

import flax.linen as nn
import numpy as np
import optax
import pytest
from outside_family import Colours, colours
from outside_network import Mine
from processes import CONFIG
from video_files import write_folder

import vjax
from vjax.cli.main import main
from vjax.data.video import Source, Video
from vjax.models.card import card_of, rounds_to
from vjax.models.cost import forward_cost
from vjax.weights.write import write_safetensors


class Flat(Mine):
    """Gives logits without the axis of opinions."""

    @nn.compact
    def __call__(self, clips, *, train):
        return super().__call__(clips, train=train)[:, 0]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    root = write_folder(tmp_path_factory.mktemp("outside") / "videos")
    return vjax.build(vjax.load_config(f"{CONFIG}:tiny", [f"--config.source.root={root}"]))


def fit(experiment, workdir):
    return vjax.fit(experiment, workdir, console=io.StringIO())


@pytest.fixture(scope="module")
def with_mine(experiment, tmp_path_factory):
    """A run of a network from outside: (workdir, result)."""
    workdir = tmp_path_factory.mktemp("mine") / "run"
    return workdir, fit(dataclasses.replace(experiment, network=Mine(2)), workdir)


def test_a_network_from_outside_is_trained_and_read_back(with_mine):
    workdir, result = with_mine
    trained = vjax.load(workdir, network=Mine(2))
    found = trained.evaluate()
    assert found.metrics == {name: result[name] for name in found.metrics}
    assert set(trained.state.params) == {"Dense_0"}


def test_a_network_from_outside_must_be_given_to_read_it_back(with_mine):
    workdir, _ = with_mine
    with pytest.raises(
        vjax.InputError,
        match=r"its network comes from outside vjax: Mine\( num_classes = 2 \);.*load\(workdir, network=",
    ):
        vjax.load(workdir)
    with pytest.raises(vjax.InputError, match="does not fit the network"):
        vjax.load(workdir, network=Mine(3))


def test_a_run_of_a_network_from_outside_is_not_continued_with_another(experiment, with_mine):
    workdir, result = with_mine
    assert fit(dataclasses.replace(experiment, network=Mine(2)), workdir) == result
    with pytest.raises(vjax.InputError, match=r"holds a run of another config \(experiment.network is 'Mine\("):
        fit(experiment, workdir)


def test_a_finished_run_of_a_network_from_outside_is_not_the_result_of_another(experiment, with_mine):
    workdir, _ = with_mine
    with pytest.raises(vjax.InputError, match=r"another config \(experiment.network is 'Mine\("):
        vjax.train(experiment.config, workdir)


def test_a_part_from_outside_is_described_without_addresses(experiment):
    parts = {"network": Mine(2), "make_optimizer": functools.partial(np.mean, axis=0), "mix": Remember()}
    described = dataclasses.replace(experiment, **parts).foreign_parts()
    assert described.keys() == parts.keys()
    assert "0x" not in "".join(described.values())


@pytest.mark.parametrize("network", [Mine(3), Flat(2)])
def test_a_network_that_does_not_give_a_logit_for_each_class_is_refused(experiment, tmp_path, network):
    with pytest.raises(vjax.InputError, match=r"a network must return logits \(b v k\), here with k = 2"):
        fit(dataclasses.replace(experiment, network=network), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_source_from_outside_is_trained_on(experiment, tmp_path):
    def made(level, label, number):
        frames = np.full((12, 24, 32, 3), level + number, np.uint8)
        return Video(f"{level}-{number}", label, 12, 10.0, lambda indices: frames[indices])

    videos = [made(level, label, number) for label, level in enumerate((40, 200)) for number in range(8)]
    source = Source(("dark", "light"), videos, videos[::4], split="made by hand", bad_videos=())
    result = fit(dataclasses.replace(experiment, source=source), tmp_path / "run")
    assert result["num_videos"] == 4
    assert "made by hand" in result["protocol"]
    assert json.loads((tmp_path / "run" / "classes.json").read_text()) == ["dark", "light"]


@pytest.fixture
def _family(monkeypatch):
    monkeypatch.setitem(vjax.NETWORKS, "colours", colours)


@pytest.mark.usefixtures("_family")
def test_a_family_from_outside_is_created_listed_and_shown_like_any_other(capsys):
    assert vjax.create("colours", 3) == Colours(3)
    assert vjax.list_models("colour") == ["colours"]
    assert main(["models", "colours"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "colours: A network that looks at colours alone." in shown
    assert "cost: 77 parameters, 64 multiply-adds of a clip" in shown
    assert "published: 12.5 % Paints video@1: 1 clip x 1 crop of 4 frames; a stranger's paper" in shown
    assert "weights: stranger:colours, Paints, 5 classes" in shown
    card = card_of(colours)
    counted = forward_cost(colours(card.num_classes), (*card.clip, 3))
    assert rounds_to(counted.parameters, card.parameters)
    assert rounds_to(counted.multiply_adds, card.multiply_adds)


@pytest.mark.usefixtures("_family")
def test_a_family_from_outside_starts_from_its_weights_with_their_preprocessing(experiment, tmp_path, capsys):
    rng = np.random.default_rng(0)
    shapes = {"mix.weight": (8, 3), "mix.bias": (8,), "fc.weight": (5, 8), "fc.bias": (5,)}
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    path = tmp_path / "renamed.safetensors"
    write_safetensors(path, tensors)
    assert main(["weights", f"stranger:colours={path}"]) == 0
    assert "fits: colours, with 5 classes; not used: nothing" in capsys.readouterr().out

    # The config of the run has the preprocessing of the weights, and the run their tensors.
    words = ["--config.network.name=colours", f"--config.init.weights=stranger:colours={path}"]
    config = vjax.load_config(f"{CONFIG}:tiny", [*words, "--config.length=2", "--config.layer_rates=mix=0"])
    found = vjax.build(dataclasses.replace(config, source=experiment.config.source))
    assert (found.config.clip.num_frames, found.config.normalization.mean) == (4, (0.5, 0.5, 0.5))
    fit(found, tmp_path / "run")
    trained = vjax.load(tmp_path / "run")
    np.testing.assert_array_equal(trained.state.params["mix"]["kernel"], tensors["mix.weight"].T)
    assert trained.test_view.timing.num_frames == 4


class Remember:
    """A writer that keeps what it hears."""

    def __init__(self):
        self.seen, self.steps, self.is_closed = {}, [], False

    def scalars(self, step, values):
        self.seen |= {(step, name): value for name, value in values.items()}

    def advance(self, step):
        self.steps.append(step)

    def close(self):
        self.is_closed = True


def test_a_metric_a_writer_and_an_optimizer_from_outside_take_part(experiment, tmp_path):
    writer, rate = Remember(), optax.constant_schedule(0.25)
    mine = dataclasses.replace(
        experiment,
        metrics={"surest": lambda evaluation: evaluation.probs.max()},
        writers=(writer,),
        make_optimizer=lambda experiment: (optax.sgd(rate), rate),
    )
    result = fit(mine, tmp_path / "run")
    assert 0.5 <= result["surest"] <= 1
    assert writer.seen[4, "test/surest"] == result["surest"]
    assert writer.seen[2, "train/learning_rate"] == 0.25
    assert writer.steps == [1, 2, 3, 4]
    assert writer.is_closed


def test_a_run_with_an_optimizer_from_outside_is_not_continued_without_it(experiment, tmp_path):
    rate = optax.constant_schedule(0.25)
    fit(dataclasses.replace(experiment, make_optimizer=lambda _: (optax.sgd(rate), rate)), tmp_path / "run")
    with pytest.raises(vjax.InputError, match=r"another config \(experiment.make_optimizer is 'test_outside.*lambda>'"):
        fit(experiment, tmp_path / "run")


def test_a_test_view_from_outside_is_used_after_loading_too(experiment, tmp_path):
    view = dataclasses.replace(experiment.test_view, num_clips=3, num_crops=3)
    result = fit(dataclasses.replace(experiment, test_view=view), tmp_path / "run")
    trained = vjax.load(tmp_path / "run")
    assert trained.test_view == view
    assert trained.evaluate().metrics["loss"] == result["loss"]


def test_train_is_build_and_fit(experiment, tmp_path):
    again = vjax.train(experiment.config, tmp_path / "once", console=io.StringIO())
    assert fit(experiment, tmp_path / "twice") == again


def test_building_writes_nothing(experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vjax.build(experiment.config)
    assert list(Path(tmp_path).iterdir()) == []


class WithFlaxsNorm(Mine):
    """A network with a batch norm of flax, which changes its statistics in training."""

    @nn.compact
    def __call__(self, clips, *, train):
        return super().__call__(nn.BatchNorm(use_running_average=not train)(clips), train=train)


def test_norms_of_other_packages_cannot_be_frozen(experiment, tmp_path):
    config = dataclasses.replace(experiment.config, freeze_norms=True)
    experiment = dataclasses.replace(experiment, config=config, network=WithFlaxsNorm(2))
    with pytest.raises(vjax.InputError, match=r"config.freeze_norms: the network changes its .* use vjax.layers.norm"):
        fit(experiment, tmp_path / "run")
