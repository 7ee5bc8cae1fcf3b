"""SlowFast. `test_pytorchvideo.py` compares its numbers with PyTorchVideo's."""

import jax
import jax.numpy as jnp
import pytest
from flax.traverse_util import flatten_dict
from published_networks import shapes_inside, variables_of

from vjax import models
from vjax.errors import InputError
from vjax.models.cost import count_parameters, multiply_adds
from vjax.models.slowfast import slow_frames, torch_names

SMALL_CLIP = (8, 32, 32, 3)


def test_parameters_and_multiply_adds_are_those_of_pytorchvideo_to_the_digit():
    """PyTorchVideo 0.1.5 and its model zoo: 34.57 M parameters, and 65.71 G for a view of 32 frames of 256 x 256."""
    assert count_parameters(variables_of("slowfast_r50", 400, SMALL_CLIP)["params"]) == 34_566_488
    assert round(multiply_adds(models.create("slowfast_r50", 400), (32, 256, 256, 3)) / 1e9, 2) == 65.71


def test_every_stage_of_both_pathways_has_the_published_shape():
    """Feichtenhofer et al. 2019, table 1, for SlowFast 8x8: alpha 4, beta 1/8."""
    logits, params, outputs = shapes_inside(models.create("slowfast_r50", 400), (32, 224, 224, 3))
    assert logits.shape == (2, 1, 400)
    found = {path.removeprefix("backbone/"): leaf for path, leaf in outputs.items() if path.count("/") == 1}
    stages = {name: leaf.shape[1:] for name, leaf in found.items() if name.startswith(("slow", "fast", "lateral"))}
    assert stages == {
        "slow_stem": (8, 56, 56, 64),
        "slow_stage1": (8, 56, 56, 256),
        "slow_stage2": (8, 28, 28, 512),
        "slow_stage3": (8, 14, 14, 1024),
        "slow_stage4": (8, 7, 7, 2048),
        "fast_stem": (32, 56, 56, 8),
        "fast_stage1": (32, 56, 56, 32),
        "fast_stage2": (32, 28, 28, 64),
        "fast_stage3": (32, 14, 14, 128),
        "fast_stage4": (32, 7, 7, 256),
        "lateral1": (8, 56, 56, 16),
        "lateral2": (8, 56, 56, 64),
        "lateral3": (8, 28, 28, 128),
        "lateral4": (8, 14, 14, 256),
    }
    firsts = {
        name: params["backbone"][name]["Bottleneck_0"]["Conv_0"]["kernel"].shape for name in stages if "stage" in name
    }
    assert {name for name, shape in firsts.items() if shape[:3] == (3, 1, 1)} == firsts.keys() - {
        "slow_stage1",
        "slow_stage2",
    }


@pytest.mark.parametrize(("size", "num_opinions"), [(32, 1), (224, 1), (256, 4)])
def test_every_window_of_the_average_pool_gives_an_opinion(size, num_opinions):
    logits, _, _ = shapes_inside(models.create("slowfast_r50", 5), (8, size, size, 3))
    assert logits.shape == (2, num_opinions, 5)


@pytest.mark.parametrize("num_frames", [6, 33])
def test_a_number_of_frames_that_is_no_multiple_of_four_is_refused(num_frames):
    message = (
        rf"slowfast_r50 takes clips whose number of frames is a multiple of 4.*; got {num_frames} frames; set config"
    )
    with pytest.raises(InputError, match=message):
        variables_of("slowfast_r50", 5, (num_frames, 32, 32, 3))


def test_clips_of_less_than_four_frames_are_refused():
    with pytest.raises(InputError, match="slowfast_r50 needs clips of at least 4 frames, got 2"):
        variables_of("slowfast_r50", 5, (2, 32, 32, 3))


@pytest.mark.parametrize("num_frames", [4, 8, 32, 64])
def test_the_slow_pathway_sees_a_quarter_of_the_frames_from_the_first_to_the_last(num_frames):
    seen = slow_frames(num_frames).tolist()
    assert len(set(seen)) == len(seen) == num_frames // 4
    assert seen[0] == 0
    assert num_frames == 4 or seen[-1] == num_frames - 1


def test_in_half_precision_parameters_and_logits_stay_float32():
    logits, params, outputs = shapes_inside(models.create("slowfast_r50", 5, dtype="bfloat16"), SMALL_CLIP)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert {leaf.dtype for path, leaf in outputs.items() if path.startswith("backbone/")} == {jnp.dtype("bfloat16")}


def test_each_variable_has_a_name_of_its_own_in_pytorchvideo():
    names = torch_names(variables_of("slowfast_r50", 5, SMALL_CLIP))
    assert names.keys() == flatten_dict(variables_of("slowfast_r50", 5, SMALL_CLIP), sep="/").keys()
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("params/backbone/slow_stem/Conv_0/kernel", "blocks.0.multipathway_blocks.0.conv.weight"),
        ("batch_stats/backbone/fast_stem/BatchNorm_0/mean", "blocks.0.multipathway_blocks.1.norm.running_mean"),
        ("params/backbone/lateral1/Conv_0/kernel", "blocks.0.multipathway_fusion.conv_fast_to_slow.weight"),
        ("params/backbone/lateral4/BatchNorm_0/scale", "blocks.3.multipathway_fusion.norm.weight"),
        (
            "params/backbone/fast_stage3/Bottleneck_5/Conv_1/kernel",
            "blocks.3.multipathway_blocks.1.res_blocks.5.branch2.conv_b.weight",
        ),
        (
            "batch_stats/backbone/slow_stage4/Bottleneck_0/BatchNorm_3/var",
            "blocks.4.multipathway_blocks.0.res_blocks.0.branch1_norm.running_var",
        ),
        ("params/head/logits/bias", "blocks.6.proj.bias"),
    ],
)
def test_a_variable_has_the_name_of_its_tensor(ours, theirs):
    assert torch_names(variables_of("slowfast_r50", 5, SMALL_CLIP))[ours] == theirs
