"""SlowFast and X3D compute what PyTorchVideo's networks compute with the same tensors."""

import jax
import numpy as np
import pytest
from torch_networks import (
    assert_each_variable_has_a_tensor,
    assert_training_agrees,
    evaluate,
    make_clips,
    randomize,
    relative_error,
    shapes_of,
    to_torch,
    torch,
    variables_from,
)

from vjax import models
from vjax.models.card import card_of
from vjax.models.slowfast import torch_names as names_of_slowfast
from vjax.models.x3d import torch_names as names_of_x3d
from vjax.training import convert

pytestmark = pytest.mark.torch
create_slowfast = pytest.importorskip("pytorchvideo.models.slowfast").create_slowfast
create_x3d = pytest.importorskip("pytorchvideo.models.x3d").create_x3d

NUM_CLASSES = 7
TORCH_NAMES = {"slowfast_r50": names_of_slowfast, "x3d_s": names_of_x3d, "x3d_m": names_of_x3d}
# Clips of the average pools that PyTorchVideo's hub gives each network.
X3D_CLIPS = {"x3d_s": (13, 160), "x3d_m": (16, 224)}


class OfClips(torch.nn.Module):
    """SlowFast with the choice of frames that PySlowFast makes: evenly spaced, rounded down."""

    def __init__(self, network):
        super().__init__()
        self.blocks = network.blocks

    def forward(self, clips):
        slow = clips[:, :, torch.linspace(0, clips.shape[2] - 1, clips.shape[2] // 4).long()]
        x = [slow, clips]
        for block in self.blocks:
            x = block(x)
        return x


def make_theirs(name, clip_shape=None):
    """Returns PyTorchVideo's network with random norms, without dropout and with logits as its output.

    With a clip shape, its average pool covers the last map of that shape; otherwise that of the training crop.
    """
    torch.manual_seed(0)
    options = {"model_num_class": NUM_CLASSES, "dropout_rate": 0.0, "head_activation": None}
    if name == "slowfast_r50":
        num_frames, side = (clip_shape[0], -(-clip_shape[1] // 32)) if clip_shape else (32, 7)
        pools = ((num_frames // 4, side, side), (num_frames, side, side))
        theirs = OfClips(create_slowfast(**options, head_pool_kernel_sizes=pools))
        return randomize(theirs, theirs.blocks[-1].proj)
    num_frames, side = clip_shape[:2] if clip_shape else X3D_CLIPS[name]
    # Its own Swish reads an attribute that PyTorch has removed.
    clip = {"input_clip_length": num_frames, "input_crop_size": side, "inner_act": torch.nn.SiLU}
    theirs = create_x3d(**options, **clip)
    return randomize(theirs, theirs.blocks[-1].proj)


def make_ours(name, theirs):
    """Returns our network, and variables with the values of theirs."""
    network = models.create(name, NUM_CLASSES, dropout=0.0)
    return network, variables_from(theirs, network, TORCH_NAMES[name], (8, 32, 32, 3))


@pytest.mark.parametrize("name", TORCH_NAMES)
def test_every_variable_has_a_tensor_of_its_shape_and_every_tensor_a_variable(name):
    network = models.create(name, NUM_CLASSES)
    assert_each_variable_has_a_tensor(make_theirs(name), network, TORCH_NAMES[name], (8, 32, 32, 3))


@pytest.mark.parametrize("name", TORCH_NAMES)
def test_saved_tensors_have_the_shapes_of_pytorchvideo(name):
    shapes, card = shapes_of(models.create(name, NUM_CLASSES), (8, 32, 32, 3)), card_of(models.NETWORKS[name])
    zeros = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), shapes)
    saved = convert.to_torch(zeros, card.torch_names(shapes), convolutions=card.torch_convolutions)
    expected = make_theirs(name).state_dict()
    assert {key: tensor.shape for key, tensor in saved.items()} == {key: tuple(t.shape) for key, t in expected.items()}


# Frames of more than 7 x 32 rows have two windows of the average pool.
@pytest.mark.parametrize(("name", "clip_shape"), [("slowfast_r50", (32, 225, 224, 3)), ("x3d_s", (13, 161, 160, 3))])
def test_the_mean_over_windows_is_that_of_pytorchvideo(name, clip_shape):
    theirs = make_theirs(name).eval()
    network, variables = make_ours(name, theirs)
    clips = make_clips(1, clip_shape)
    with torch.no_grad():
        expected = theirs(to_torch(clips))
        if name == "x3d_s":
            theirs.blocks[-1].activation = torch.nn.Softmax(dim=1)
            probs = theirs(to_torch(clips))
    found = evaluate(network, variables, clips)
    assert found.shape == (1, 2, NUM_CLASSES)
    assert expected.std() > 0.1
    assert relative_error(found.mean(1), expected) < 1e-4
    if name == "x3d_s":
        # PyTorchVideo's X3D averages probabilities, as evaluation does here over opinions.
        assert relative_error(jax.nn.softmax(found).mean(1), probs) < 1e-4


@pytest.mark.parametrize(("name", "clip_shape"), [("slowfast_r50", (8, 64, 64, 3)), ("x3d_s", (4, 64, 64, 3))])
def test_a_training_batch_gives_the_logits_statistics_and_gradients_of_pytorchvideo(name, clip_shape):
    theirs = make_theirs(name, clip_shape).train()
    network, variables = make_ours(name, theirs)
    clips = make_clips(2, clip_shape)
    names = TORCH_NAMES[name](variables)
    assert_training_agrees(network, variables, theirs, names=names, clips=clips)
