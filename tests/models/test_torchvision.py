"""R3D, MC3, R(2+1)D and S3D compute what torchvision's networks compute with the same tensors."""

import functools

import chex
import golden_logits
import pytest
from random_runs import random_run
from torch_networks import (
    assert_each_variable_has_a_tensor,
    assert_training_agrees,
    evaluate,
    make_clips,
    randomize,
    relative_error,
    to_torch,
    torch,
    variables_from,
)

import vjax
from vjax import models
from vjax.models.registry import torch_names_of
from vjax.spec import Choice

pytestmark = pytest.mark.torch
video = pytest.importorskip("torchvision").models.video
resnet = video.resnet
safetensors = pytest.importorskip("safetensors.torch")

# The sizes of one axis are odd or even before the strided layers: the zeros that pad them are then before or after.
NUM_CLASSES, CLIP_SHAPE = 7, (5, 45, 56, 3)


def of_34(block):
    """Returns a function that makes torchvision's 3D network with the stages of ResNet-34; it has no name there."""
    return functools.partial(resnet.VideoResNet, block, [resnet.Conv3DSimple] * 4, [3, 4, 6, 3], resnet.BasicStem)


PUBLISHED = {"r3d_18": resnet.r3d_18, "mc3_18": resnet.mc3_18, "r2plus1d_18": resnet.r2plus1d_18, "s3d": video.s3d}
THEIRS = PUBLISHED | {"r3d_34": of_34(resnet.BasicBlock), "r3d_50": of_34(resnet.Bottleneck)}
each_published = pytest.mark.parametrize("name", PUBLISHED)
each_network = pytest.mark.parametrize("name", THEIRS)


def make_theirs(name, *, num_classes=NUM_CLASSES):
    """Returns torchvision's network with random norms and without dropout."""
    torch.manual_seed(0)
    if name != "s3d":
        theirs = THEIRS[name](num_classes=num_classes)
        return randomize(theirs, theirs.fc)
    theirs = THEIRS[name](num_classes=num_classes, dropout=0.0)
    # As published, its average pool refuses small clips.
    theirs.avgpool = torch.nn.AvgPool3d((2, 2, 2), stride=1)
    return randomize(theirs, theirs.classifier[1])


def make_ours(name, theirs):
    """Returns our network, and variables with the values of theirs."""
    network = models.create(name, NUM_CLASSES, dropout=0.0)
    if name == "s3d":
        network = network.clone(window=(2, 2, 2))
    return network, variables_from(theirs, network, torch_names_of(Choice(name)), CLIP_SHAPE)


@each_network
def test_every_variable_has_a_tensor_of_its_shape_and_every_tensor_a_variable(name):
    theirs = THEIRS[name](num_classes=NUM_CLASSES)
    assert_each_variable_has_a_tensor(
        theirs, models.create(name, NUM_CLASSES), torch_names_of(Choice(name)), CLIP_SHAPE
    )


# R3D-34 has the blocks of R3D-18. The last map of S3D is 3 x 2 x 3, so two windows of its average pool fit along time
# and two along the width; its odd sizes come before the pools.
@pytest.mark.parametrize(
    ("name", "clip_shape"),
    [*((name, CLIP_SHAPE) for name in [*PUBLISHED, "r3d_50"] if name != "s3d"), ("s3d", (21, 71, 110, 3))],
)
def test_the_logits_are_those_of_torchvision(name, clip_shape):
    theirs = make_theirs(name).eval()
    network, variables = make_ours(name, theirs)
    clips = make_clips(2, clip_shape)
    expected = theirs(to_torch(clips)).detach()
    assert expected.std() > 0.1
    assert relative_error(evaluate(network, variables, clips)[:, 0], expected) < 1e-5


@each_published
def test_the_golden_logits_are_those_of_torchvision(name):
    theirs = make_theirs(name, num_classes=golden_logits.NUM_CLASSES).eval()
    tensors = {key: tensor for key, tensor in theirs.state_dict().items() if not key.endswith("num_batches_tracked")}
    drawn = {key: torch.from_numpy(golden_logits.draw_tensor(key, tuple(t.shape))) for key, t in tensors.items()}
    theirs.load_state_dict(drawn, strict=False)
    found = theirs(to_torch(golden_logits.golden_clips(name))).detach()[0].tolist()
    golden = golden_logits.GOLDEN.get(name, [])
    assert golden == pytest.approx(found, abs=1e-5 * max(map(abs, found))), found


@each_published
def test_a_training_batch_gives_the_logits_statistics_and_gradients_of_torchvision(name):
    theirs = make_theirs(name).train()
    network, variables = make_ours(name, theirs)
    clips = make_clips(2, (16, 64, 64, 3) if name == "s3d" else (4, 32, 32, 3))
    names = torch_names_of(Choice(name))(variables)
    assert_training_agrees(network, variables, theirs, names=names, clips=clips)


def test_s3d_as_published_has_torchvisions_average_pool():
    theirs = video.s3d(num_classes=NUM_CLASSES)
    assert models.create("s3d", NUM_CLASSES).window == theirs.avgpool.kernel_size


@each_published
def test_torchvisions_network_loads_saved_weights_strictly_and_has_the_same_numbers(name, tmp_path):
    trained = random_run(name, num_classes=NUM_CLASSES, size=(16, 224, 224))
    vjax.save_weights(trained, tmp_path / "w.safetensors")
    theirs = PUBLISHED[name](num_classes=NUM_CLASSES)
    theirs.load_state_dict(safetensors.load_file(tmp_path / "w.safetensors"))
    clip_shape = trained.test_view.shape[1:]
    found = variables_from(theirs, trained.network, torch_names_of(Choice(name)), clip_shape)
    chex.assert_trees_all_equal(found, trained.state.variables)
