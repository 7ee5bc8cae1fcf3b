"""A run that starts from another run's network."""

import dataclasses
import io
import shutil

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
from processes import CONFIG, unwrapped
from saved_states import saved_state
from video_files import write_folder

import vjax
from vjax import workdirs
from vjax.experiment import make_init
from vjax.first_state import make_first_state


def tiny(root, *overrides):
    return vjax.load_config(f"{CONFIG}:tiny", [f"--config.source.root={root}", *overrides])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished run on two classes, and its videos."""
    base = tmp_path_factory.mktemp("source")
    root = write_folder(base / "videos")
    vjax.train(tiny(root, "--config.ema_decay=0.5"), base / "run", console=io.StringIO())
    return root, base / "run"


@pytest.fixture
def more_classes(tmp_path, source):
    """The same videos and a third class."""
    root, _ = source
    shutil.copytree(root, tmp_path / "more")
    shutil.copytree(root / "rise", tmp_path / "more" / "still")
    return tmp_path / "more"


def start(config, workdir):
    console = io.StringIO()
    vjax.train(config, workdir, console=console)
    return console.getvalue()


def test_a_run_with_other_classes_starts_from_the_averaged_network_and_keeps_what_is_frozen(
    tmp_path, source, more_classes
):
    _, workdir = source
    config = tiny(more_classes, f"--config.init.weights={workdir}", "--config.layer_rates=backbone=0")
    said = start(config, tmp_path / "run")
    reinitialised = "params/head/logits/bias, params/head/logits/kernel"
    assert f"starts from the network of {workdir} at step 4; reinitialised: {reinitialised}; " in unwrapped(said)
    assert "; preprocessing: the same" in unwrapped(said)
    before, after = vjax.load(workdir), vjax.load(tmp_path / "run")
    assert after.class_names == ("fall", "rise", "still")
    jax.tree.map(np.testing.assert_array_equal, after.state.params["backbone"], before.state.ema["backbone"])
    assert after.state.params["head"]["logits"]["kernel"].shape[-1] == 3


@pytest.mark.parametrize("sharding", ["data", "fsdp"])
def test_with_the_same_classes_nothing_is_fresh_and_without_steps_of_any_size_nothing_changes(
    tmp_path, source, sharding
):
    root, workdir = source
    # Some layer must learn; such a step is smaller than the last digit of a number.
    rates = "--config.layer_rates=backbone=0,head=1e-30"
    words = [f"--config.init.weights={workdir}", rates, "--config.ema_decay=0.5"]
    said = start(tiny(root, *words, f"--config.sharding={sharding}"), tmp_path / "run")
    assert "reinitialised: nothing" in unwrapped(said)
    before, after = saved_state(workdir), saved_state(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, (after.params, after.ema), (before.ema, before.ema))


def test_a_run_goes_on_when_the_one_it_started_from_is_gone(tmp_path, source):
    root, workdir = source
    shutil.copytree(workdir, tmp_path / "origin")
    config = tiny(root, f"--config.init.weights={tmp_path / 'origin'}")
    start(config, tmp_path / "run")
    whole = saved_state(tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "4")
    shutil.rmtree(tmp_path / "origin")
    assert "starts from" not in start(config, tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, whole, saved_state(tmp_path / "run"))


def test_the_head_warms_up_alone_on_frozen_norms_and_a_run_cut_off_before_its_end_is_resumed_exactly(tmp_path, source):
    root, workdir = source
    words = [f"--config.init.weights={workdir}", "--config.head_warmup=24 examples", "--config.freeze_norms=True"]
    config = tiny(root, *words)
    start(config, tmp_path / "run")
    before, whole = vjax.load(workdir).state.variables, saved_state(tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "4")
    early = vjax.load(tmp_path / "run").state
    assert int(early.step) == 2
    jax.tree.map(np.testing.assert_array_equal, early.params["backbone"], before["params"]["backbone"])
    jax.tree.map(np.testing.assert_array_equal, whole.batch_stats, before["batch_stats"])
    for leaf, given in zip(*map(jax.tree.leaves, (whole.params, before["params"])), strict=True):
        assert np.any(leaf != given), "every layer learns in the last step"
    start(config, tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, whole, saved_state(tmp_path / "run"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config.init.weights=."], "holds no run"),
        (["--config.init.checkpoint=last", "--config.init.weights={}"], "checkpoint does not know 'last'"),
        (
            ["--config.init.weights={}", "--config.network.backbone.widths=(4,8,4)"],
            "config.init: the network of .* does not",
        ),
        (["--config.layer_rates=stem=0"], "no parameters in 'stem'. Its layers: backbone/BatchNorm_0"),
        (["--config.layer_rates=half"], "config.layer_rates is a text such as"),
        (["--config.head_warmup=4"], r"config.head_warmup must be shorter than the run of 4 step\(s\), got 4 step"),
        (
            ["--config.freeze_norms=True", "--config.network.backbone.norm=group"],
            "config.freeze_norms: the network has no batch norms",
        ),
    ],
)
def test_what_does_not_fit_is_explained_before_the_first_step(tmp_path, source, words, message):
    root, workdir = source
    with pytest.raises(vjax.InputError, match=message):
        start(tiny(root, *(word.format(workdir) for word in words)), tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists(), "with another config the run could not start there"
    assert not (tmp_path / "run" / "checkpoints").exists() or not list((tmp_path / "run" / "checkpoints").iterdir())


def test_reading_a_run_leaves_what_is_being_written_there_alone(source):
    _, workdir = source
    half = workdir / "checkpoints" / "6.orbax-checkpoint-tmp"
    half.mkdir()
    vjax.load(workdir)
    assert half.is_dir()
    half.rmdir()


class Averaged(nn.Module):
    """A network from outside, on the backbone of another one."""

    num_classes: int
    backbone: nn.Module

    @nn.compact
    def __call__(self, clips, *, train):
        return nn.Dense(self.num_classes)(self.backbone(clips, train=train).mean((1, 2, 3)))[:, None]


def first_state(experiment, console):
    make_state = make_init(
        experiment.config, experiment.network, optax.identity(), view=experiment.test_view, key=jax.random.key(1)
    )
    return make_first_state(experiment, make_state, console)


def test_a_network_from_outside_starts_from_a_run_of_a_network_of_vjax(source):
    root, workdir = source
    experiment = vjax.build(tiny(root, f"--config.init.weights={workdir}"))
    network = Averaged(num_classes=2, backbone=experiment.network.backbone.clone(parent=None))
    console = io.StringIO()
    state = first_state(dataclasses.replace(experiment, network=network), console)
    assert "reinitialised: params/Dense_0/bias, params/Dense_0/kernel; " in unwrapped(console.getvalue())
    jax.tree.map(np.testing.assert_array_equal, state.params["backbone"], vjax.load(workdir).state.ema["backbone"])


def test_a_network_of_vjax_does_not_start_from_a_run_of_one_from_outside(source, tmp_path):
    root, workdir = source
    other = shutil.copytree(workdir, tmp_path / "outside")
    workdirs.write_foreign(other, {"network": "Mine()"})
    with pytest.raises(vjax.InputError, match=r"comes from outside vjax: Mine\(\); .*Give that network to the run"):
        first_state(vjax.build(tiny(root, f"--config.init.weights={other}")), io.StringIO())
