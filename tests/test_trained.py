"""What is done with a trained network; tests/test_run.py and tests/test_command_line.py evaluate and predict."""

import dataclasses

import jax
import numpy as np
import pytest
from outside_network import Mine
from random_runs import random_run

import vjax
from vjax.errors import InputError
from vjax.models.registry import torch_names_of
from vjax.training.convert import convert
from vjax.weights.read import read_tensors


def test_saved_weights_are_read_back_as_the_same_variables(tmp_path):
    # MC3 has kernels over time, kernels of depth 1, and projected shortcuts.
    trained = random_run("mc3_18")
    vjax.save_weights(trained, tmp_path / "new" / "w.safetensors")
    tensors = read_tensors(tmp_path / "new" / "w.safetensors")
    zeros = jax.tree.map(np.zeros_like, trained.state.variables)
    names = torch_names_of(trained.config.network)
    found = convert(zeros, tensors, names(zeros), where="w")
    assert (found.reinitialised, found.inflated, found.unused) == ((), (), ())
    jax.tree.map(np.testing.assert_array_equal, found.variables, trained.state.variables)


def test_averaged_parameters_are_the_ones_that_are_saved(tmp_path):
    trained = random_run("mc3_18")
    ema = jax.tree.map(lambda leaf: leaf + 1, trained.state.params)
    trained = dataclasses.replace(trained, state=trained.state.replace(ema=ema))
    vjax.save_weights(trained, tmp_path / "w.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "w.npz")["fc.bias"], ema["head"]["logits"]["bias"])


@pytest.mark.parametrize("network", [None, Mine(3)])
def test_weights_of_a_network_without_names_in_pytorch_are_not_saved(tmp_path, network):
    trained = random_run("mc3_18" if network else "slow_fusion")
    trained = dataclasses.replace(trained, network=network or trained.network)
    message = r"PyTorch gives to the tensors of the network of runs/random are not known; they are for .*r3d_18"
    with pytest.raises(vjax.InputError, match=message):
        vjax.save_weights(trained, tmp_path / "w.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_network_whose_backbone_alone_has_names_in_pytorch_is_refused(tmp_path):
    trained = random_run("slow_fusion", backbone=vjax.Choice("resnet18"))
    with pytest.raises(vjax.InputError, match=r"network of runs/random are not known; they are for .*r3d_18"):
        vjax.save_weights(trained, tmp_path / "w.safetensors")


def test_weights_are_saved_in_the_forms_that_vjax_reads(tmp_path):
    with pytest.raises(vjax.InputError, match=r"w.pth: the ending of .* must be one of .safetensors, .npz"):
        vjax.save_weights(random_run("slow_fusion"), tmp_path / "w.pth")


def test_a_hop_of_half_a_clip_is_the_default_and_one_below_1_is_refused(run_of_levels):
    trained = vjax.load(run_of_levels / "run")
    assert trained.hop(None) == trained.test_view.timing.num_frames // 2
    assert trained.hop(3) == 3
    with pytest.raises(InputError, match="a window must move by 1 frame or more, got 0"):
        trained.hop(0)
