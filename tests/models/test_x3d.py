"""X3D. `test_pytorchvideo.py` compares its numbers with PyTorchVideo's."""

import functools
import math

import jax
import jax.numpy as jnp
import pytest
from flax.traverse_util import flatten_dict
from published_networks import shapes_inside

from vjax import models
from vjax.models.cost import count_parameters, multiply_adds
from vjax.models.x3d import squeezed_width, torch_names

SMALL_CLIP = (4, 32, 32, 3)
each_network = pytest.mark.parametrize("name", ["x3d_s", "x3d_m"])


@functools.cache
def variables_of(name, num_classes):
    """Returns the shapes of a network's variables."""
    network, clips = models.create(name, num_classes), jax.ShapeDtypeStruct((1, *SMALL_CLIP), jnp.float32)
    return jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), clips)


@each_network
def test_parameters_are_those_of_pytorchvideo_to_the_digit(name):
    assert count_parameters(variables_of(name, 400)["params"]) == 3_794_274


@pytest.mark.parametrize(
    ("name", "train_clip", "giga", "test_clip", "giga_with_norms"),
    [
        ("x3d_s", (13, 160, 160, 3), 1.96, (13, 182, 182, 3), 2.96),
        ("x3d_m", (16, 224, 224, 3), 4.73, (16, 256, 256, 3), 6.72),
    ],
)
def test_multiply_adds_are_those_published(name, train_clip, giga, test_clip, giga_with_norms):
    """PySlowFast's model zoo gives those of the training crop.

    PyTorchVideo's gives 2.96 and 6.72 G for the test crop. That is what its network costs if every value that a norm
    puts out counts as five more, as in fvcore's count of a norm in training.
    """
    network = models.create(name, 400)
    assert round(multiply_adds(network, train_clip) / 1e9, 2) == giga
    _, _, outputs = shapes_inside(network, test_clip)
    norms = sum(math.prod(leaf.shape[1:]) for path, leaf in outputs.items() if "norm" in path.rpartition("/")[2])
    assert round((multiply_adds(network, test_clip) + 5 * norms) / 1e9, 2) == giga_with_norms


def test_every_stage_has_the_published_shape():
    """Feichtenhofer 2020, table 3, X3D-S."""
    logits, params, outputs = shapes_inside(models.create("x3d_s", 400), (13, 160, 160, 3))
    assert logits.shape == (2, 1, 400)
    backbone = params["backbone"]
    blocks = [name for name in backbone if name.startswith("stage")]
    assert [sum(name.startswith(f"stage{stage}_") for name in blocks) for stage in (1, 2, 3, 4)] == [3, 5, 11, 7]
    lasts = ("stem_time", "stage1_2", "stage2_4", "stage3_10", "stage4_6", "conv5")
    assert [outputs[f"backbone/{name}"].shape[1:] for name in lasts] == [
        (13, 80, 80, 24),
        (13, 40, 40, 24),
        (13, 20, 20, 48),
        (13, 10, 10, 96),
        (13, 5, 5, 192),
        (13, 5, 5, 432),
    ]
    assert backbone["stage4_6"]["conv_b"]["kernel"].shape == (3, 3, 3, 1, 432)
    assert params["lin5"]["kernel"].shape == (432, 2048)


def test_every_second_block_of_a_stage_has_a_squeeze_excite_layer():
    backbone = variables_of("x3d_s", 5)["params"]["backbone"]
    with_layer = {name for name in backbone if "squeeze_excite" in backbone[name]}
    assert with_layer == {
        name for name in backbone if name.startswith("stage") and int(name.partition("_")[2]) % 2 == 0
    }


def test_only_the_shortcut_that_changes_the_width_has_a_norm():
    backbone = variables_of("x3d_s", 5)["params"]["backbone"]
    assert {name for name in backbone if "shortcut" in backbone[name]} == {f"stage{stage}_0" for stage in (1, 2, 3, 4)}
    assert {name for name in backbone if "shortcut_norm" in backbone[name]} == {
        f"stage{stage}_0" for stage in (2, 3, 4)
    }


@pytest.mark.parametrize(
    ("name", "size", "num_opinions"),
    [("x3d_s", 32, 1), ("x3d_s", 160, 1), ("x3d_s", 182, 4), ("x3d_m", 182, 1), ("x3d_m", 256, 4)],
)
def test_every_window_of_the_average_pool_gives_an_opinion(name, size, num_opinions):
    logits, _, _ = shapes_inside(models.create(name, 5), (4, size, size, 3))
    assert logits.shape == (2, num_opinions, 5)


@pytest.mark.parametrize(("channels", "width"), [(54, 8), (128, 8), (216, 16), (320, 24), (432, 32)])
def test_the_squeezed_width_is_a_sixteenth_in_steps_of_eight(channels, width):
    assert squeezed_width(channels) == width


def test_in_half_precision_parameters_and_logits_stay_float32():
    logits, params, outputs = shapes_inside(models.create("x3d_s", 5, dtype="bfloat16"), SMALL_CLIP)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert {leaf.dtype for path, leaf in outputs.items() if path.startswith("backbone/")} == {jnp.dtype("bfloat16")}


def test_each_variable_has_a_name_of_its_own_in_pytorchvideo():
    names = torch_names(variables_of("x3d_s", 5))
    assert names.keys() == flatten_dict(variables_of("x3d_s", 5), sep="/").keys()
    assert len(set(names.values())) == len(names)


BLOCK = "blocks.3.res_blocks.10"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("params/backbone/stem_space/kernel", "blocks.0.conv.conv_t.weight"),
        ("params/backbone/stem_time/kernel", "blocks.0.conv.conv_xy.weight"),
        ("batch_stats/backbone/stem_norm/var", "blocks.0.norm.running_var"),
        ("params/backbone/stage3_10/conv_b/kernel", f"{BLOCK}.branch2.conv_b.weight"),
        ("params/backbone/stage3_10/norm_b/bias", f"{BLOCK}.branch2.norm_b.0.bias"),
        ("params/backbone/stage3_10/squeeze_excite/squeeze/kernel", f"{BLOCK}.branch2.norm_b.1.block.0.weight"),
        ("params/backbone/stage3_10/squeeze_excite/excite/bias", f"{BLOCK}.branch2.norm_b.1.block.2.bias"),
        ("batch_stats/backbone/stage2_0/shortcut_norm/mean", "blocks.2.res_blocks.0.branch1_norm.running_mean"),
        ("params/lin5/kernel", "blocks.5.pool.post_conv.weight"),
        ("params/backbone/norm5/scale", "blocks.5.pool.pre_norm.weight"),
        ("params/head/logits/kernel", "blocks.5.proj.weight"),
    ],
)
def test_a_variable_has_the_name_of_its_tensor(ours, theirs):
    assert torch_names(variables_of("x3d_s", 5))[ours] == theirs
