"""S3D. `test_torchvision.py` compares its numbers with torchvision's."""

import jax
import jax.numpy as jnp
import pytest
from flax.traverse_util import flatten_dict
from published_networks import shapes_inside, variables_of

from vjax import models
from vjax.errors import InputError
from vjax.models.cost import count_parameters, multiply_adds
from vjax.models.s3d import torch_names

SMALL_CLIP = (16, 64, 64, 3)


def test_parameters_and_multiply_adds_are_those_of_torchvision_to_the_digit():
    """Source: torchvision 0.29 counts 17.979 G; it takes clips of 16 frames of 224 x 224."""
    assert count_parameters(variables_of("s3d", 400, SMALL_CLIP)["params"]) == 8_320_048
    assert round(multiply_adds(models.create("s3d", 400), (16, 224, 224, 3)) / 1e9, 3) == 17.979


def test_every_stage_has_the_published_shape():
    """Xie et al. 2018, figure 5 and its caption: the layers of I3D, on clips of 64 frames of 224 x 224."""
    logits, _, outputs = shapes_inside(models.create("s3d", 400), (64, 224, 224, 3))
    assert logits.shape == (2, 1, 400)
    stages = {path.removeprefix("backbone/"): leaf.shape[1:] for path, leaf in outputs.items() if path.count("/") == 1}
    assert {name: shape for name, shape in stages.items() if name.startswith(("conv", "mixed"))} == {
        "conv1a": (32, 112, 112, 64),
        "conv2b": (32, 56, 56, 64),
        "conv2c": (32, 56, 56, 192),
        "mixed3b": (32, 28, 28, 256),
        "mixed3c": (32, 28, 28, 480),
        "mixed4b": (16, 14, 14, 512),
        "mixed4c": (16, 14, 14, 512),
        "mixed4d": (16, 14, 14, 512),
        "mixed4e": (16, 14, 14, 528),
        "mixed4f": (16, 14, 14, 832),
        "mixed5b": (8, 7, 7, 832),
        "mixed5c": (8, 7, 7, 1024),
    }


@pytest.mark.parametrize(
    ("clip_shape", "num_windows"), [((16, 224, 224, 3), 1), ((128, 224, 224, 3), 15), ((16, 112, 112, 3), 1)]
)
def test_the_logits_are_the_mean_over_the_windows_of_the_average_pool(clip_shape, num_windows):
    logits, _, outputs = shapes_inside(models.create("s3d", 5), clip_shape)
    assert outputs["head/logits"].shape == (2, num_windows, 5)
    assert logits.shape == (2, 1, 5)


@pytest.mark.parametrize(
    ("clip_shape", "message"),
    [
        ((4, 64, 64, 3), "s3d needs clips of at least 5 frames, got 4"),
        ((8, 64, 16, 3), "s3d needs frames of at least 17 x 17, got 64 x 16"),
    ],
)
def test_clips_that_leave_nothing_after_the_last_pool_are_refused(clip_shape, message):
    with pytest.raises(InputError, match=message):
        variables_of("s3d", 5, clip_shape)


def test_the_smallest_allowed_clip_leaves_one_position():
    _, _, outputs = shapes_inside(models.create("s3d", 5), (5, 17, 17, 3))
    assert outputs["backbone"].shape == (2, 1, 1, 1, 1024)


def test_in_half_precision_parameters_and_logits_stay_float32():
    logits, params, outputs = shapes_inside(models.create("s3d", 5, dtype="bfloat16"), SMALL_CLIP)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert {leaf.dtype for path, leaf in outputs.items() if path.startswith("backbone")} == {jnp.dtype("bfloat16")}


def test_each_variable_has_a_name_of_its_own_in_torchvision():
    variables = variables_of("s3d", 5, SMALL_CLIP)
    names = torch_names(variables)
    assert names.keys() == flatten_dict(variables, sep="/").keys()
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("params/backbone/conv1a/FactoredConv_0/Conv_0/kernel", "features.0.0.0.weight"),
        ("batch_stats/backbone/conv1a/FactoredConv_0/BatchNorm_0/var", "features.0.0.1.running_var"),
        ("params/backbone/conv1a/FactoredConv_0/Conv_1/kernel", "features.0.1.0.weight"),
        ("params/backbone/conv1a/BatchNorm_0/scale", "features.0.1.1.weight"),
        ("params/backbone/conv2b/Conv_0/kernel", "features.2.0.weight"),
        ("params/backbone/mixed3b/branch0/BatchNorm_0/bias", "features.5.branch0.1.bias"),
        ("params/backbone/mixed4b/branch1a/Conv_0/kernel", "features.8.branch1.0.0.weight"),
        ("params/backbone/mixed4f/branch2b/FactoredConv_0/Conv_1/kernel", "features.12.branch2.1.1.0.weight"),
        ("batch_stats/backbone/mixed5c/branch3/BatchNorm_0/mean", "features.15.branch3.1.1.running_mean"),
        ("params/head/logits/kernel", "classifier.1.weight"),
    ],
)
def test_a_variable_has_the_name_of_its_tensor(ours, theirs):
    assert torch_names(variables_of("s3d", 5, SMALL_CLIP))[ours] == theirs
