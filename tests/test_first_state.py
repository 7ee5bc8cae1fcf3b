"""Runs that start from a file of weights; tests/test_fine_tuning.py has those that start from another run."""

import dataclasses
import functools
import io

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from processes import CONFIG, unwrapped
from video_files import write_folder

import vjax
from vjax.models import NETWORKS
from vjax.models.card import Preprocessing, Weights, card_of, described
from vjax.weights.write import write_safetensors


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("first") / "videos")


def tiny(root, *overrides):
    return vjax.load_config(f"{CONFIG}:tiny", [f"--config.source.root={root}", *overrides])


def names_of(variables):
    """Names as a network of PyTorch might have them: those of the variables, with dots."""
    return {name: name.replace("/", ".") for name in flatten_dict(variables, sep="/")}


def as_torch(name, leaf):
    return np.moveaxis(leaf, (-1, -2), (0, 1)) if name.endswith("kernel") else leaf


@pytest.fixture
def file_of_weights(tmp_path, root, monkeypatch):
    """A file with random numbers for the tiny network, in PyTorch's axes, and the same numbers in ours."""
    factory = NETWORKS["slow_fusion"]
    card = dataclasses.replace(card_of(factory), torch_names=names_of)
    monkeypatch.setitem(NETWORKS, "slow_fusion", described(card)(functools.partial(factory)))
    experiment = vjax.build(tiny(root))
    clips = np.zeros((1, *experiment.test_view.shape[1:]), np.float32)
    shapes = jax.eval_shape(lambda: experiment.network.init(jax.random.key(0), clips, train=False))
    rng = np.random.default_rng(0)
    flat = flatten_dict(shapes, sep="/")
    ours = {name: rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32) for name, leaf in flat.items()}
    path = tmp_path / "w.safetensors"
    tensors = {names_of(shapes)[name]: as_torch(name, leaf) for name, leaf in ours.items()}
    write_safetensors(path, tensors | {"other.weight": np.zeros(3, np.float32)})
    return path, ours


def start(config, workdir):
    console = io.StringIO()
    vjax.train(config, workdir, console=console)
    return unwrapped(console.getvalue())


def test_a_run_starts_from_published_weights_with_their_preprocessing(tmp_path, root, file_of_weights, monkeypatch):
    path, ours = file_of_weights
    stated = Preprocessing(num_frames=8, fps=7.5, size=(16, 16), crop_share=0.5, mean=(0.5, 0.4, 0.3))
    weights = Weights("ours:made", "made.pth", 2, "made", "https://example.org/made.pth", stated)
    factory = NETWORKS["slow_fusion"]
    card = dataclasses.replace(card_of(factory), weights=(weights,))
    monkeypatch.setitem(NETWORKS, "slow_fusion", described(card)(functools.partial(factory)))
    frozen = "--config.layer_rates=backbone=0,head/logits/kernel=0"  # the bias learns, because something must
    config = tiny(root, f"--config.init.weights=ours:made={path}", frozen, "--config.length=2")
    said = start(config, tmp_path / "run")

    # What was loaded, and what was not used.
    assert f"starts from the weights in {path}, which are ours:made; reinitialised: nothing; not used: other" in said
    trained = vjax.load(tmp_path / "run")
    found = flatten_dict(trained.state.params, sep="/")
    bias = found.pop("head/logits/bias")
    np.testing.assert_allclose(bias, ours["params/head/logits/bias"], atol=0.1)
    assert len(found) > 3
    for name, leaf in found.items():
        np.testing.assert_array_equal(leaf, ours[f"params/{name}"], err_msg=name)

    # The preprocessing: each key is said, and the config of the run and its evaluation have it.
    assert "preprocessing of ours:made: clip.fps is 7.5 instead of" in said
    assert (trained.config.clip.fps, trained.config.test.crop_share) == (7.5, 0.5)
    assert (trained.test_view.timing.fps, trained.test_view.crop_share) == (7.5, 0.5)
    assert trained.config.normalization.mean == (0.5, 0.4, 0.3)
    assert "from 0.5 of the frame" in vjax.train(config, tmp_path / "run")["protocol"]
    others = dataclasses.replace(config, init=dataclasses.replace(config.init, preprocessing="config"))
    with pytest.raises(vjax.InputError, match=r"config\.clip\.fps is 7\.5 there"):
        vjax.train(others, tmp_path / "run")


def test_a_classifier_for_other_classes_is_reinitialised_and_a_plain_file_has_no_preprocessing(
    tmp_path, root, file_of_weights
):
    path, ours = file_of_weights
    write_folder(tmp_path / "videos", labels=("fall", "rise", "still"))
    config = tiny(tmp_path / "videos", f"--config.init.weights={path}", "--config.layer_rates=backbone=0")
    said = start(config, tmp_path / "run")
    assert "reinitialised: params/head/logits/bias, params/head/logits/kernel; not used: other.weight" in said
    assert "no card states their preprocessing, so it stays that of the config" in said
    found = flatten_dict(vjax.load(tmp_path / "run").state.params["backbone"], sep="/")
    for name, leaf in found.items():
        np.testing.assert_array_equal(leaf, ours[f"params/backbone/{name}"], err_msg=name)


def test_a_network_without_names_in_pytorch_is_refused_before_a_work_directory_is_taken(tmp_path, root):
    (tmp_path / "w.pth").touch()
    config = tiny(root, f"--config.init.weights={tmp_path / 'w.pth'}")
    with pytest.raises(vjax.InputError, match=r"the names that PyTorch gives .*r3d_18, mc3_18.*Start from another run"):
        vjax.train(config, tmp_path / "run", console=io.StringIO())
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_file_has_no_best_checkpoint(tmp_path, root):
    (tmp_path / "w.pth").touch()
    config = tiny(root, f"--config.init.weights={tmp_path / 'w.pth'}", "--config.init.checkpoint=best")
    with pytest.raises(vjax.InputError, match=r"config.init.checkpoint is 'best', but .* is no work directory of a r"):
        vjax.train(config, tmp_path / "run", console=io.StringIO())


def test_weights_that_are_nowhere_are_explained_before_the_videos_are_listed(tmp_path):
    config = tiny(tmp_path / "no_videos", "--config.init.weights=nowhere")
    with pytest.raises(vjax.InputError, match=r"nowhere: no such file or folder; give a file of weights, the work dir"):
        vjax.train(config, tmp_path / "run", console=io.StringIO())
