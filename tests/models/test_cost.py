import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_variables import random_variables

import vjax
from vjax import models
from vjax.errors import InputError
from vjax.layers.depthwise import DepthwiseConv
from vjax.models.card import card_of
from vjax.models.cost import count_parameters, describe_layers, forward_cost, multiply_adds

# Their layers take seconds each to trace.
SLOW_TO_TRACE = ("r3d_34", "r3d_50", "s3d", "slowfast_r50", "x3d_s", "x3d_m")
SMALL = {"name": "small", "widths": (8, 16)}
each_network = pytest.mark.parametrize("name", models.FUSION_NETWORKS)


def shapes_of(network, clip_shape):
    clips = jax.ShapeDtypeStruct((1, *clip_shape), jnp.float32)
    return jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), clips)["params"]


def make(name, num_classes=5, backbone=SMALL, **kwargs):
    return models.create(name, num_classes, backbone=backbone, **kwargs)


def test_r3d_18_has_the_parameters_and_multiply_adds_of_torchvision_to_the_digit():
    network = make("slow_fusion", 400, {"name": "resnet18"})
    clip_shape = (16, 112, 112, 3)
    assert count_parameters(shapes_of(network, clip_shape)) == 33_371_472
    assert round(multiply_adds(network, clip_shape) / 1e9, 3) == 40.697


@pytest.mark.parametrize(
    ("name", "giga", "mega"),
    [("early_fusion", 2.2, 11.5), ("late_pool", 27.6, 11.4), ("slow_fusion", 40.7, 33.4)],
)
def test_the_ladder_on_resnet18_costs_what_vmz_published(name, giga, mega):
    """Source: Tran et al. 2018, R2D, f-R2D and R3D with 18 layers, Kinetics-400, 16 frames of 112 pixels."""
    network = make(name, 400, {"name": "resnet18"})
    clip_shape = (16, 112, 112, 3)
    assert round(multiply_adds(network, clip_shape) / 1e9, 1) == giga
    assert round(count_parameters(shapes_of(network, clip_shape)) / 1e6, 1) == mega


# The lecture's table: sizes (t h w c) and receptive fields (t h w) of the first convolution, the pool and the second
# convolution; parameters without the head, and multiply-adds with it in millions.
LECTURE = {
    "late_fusion": (
        [((20, 64, 64, 12), (1, 3, 3)), ((20, 16, 16, 12), (1, 6, 6)), ((20, 16, 16, 24), (1, 14, 14))],
        2952,
        39.8,
    ),
    "early_fusion": (
        [((1, 64, 64, 12), (20, 3, 3)), ((1, 16, 16, 12), (20, 6, 6)), ((1, 16, 16, 24), (20, 14, 14))],
        9108,
        27.2,
    ),
    "slow_fusion": (
        [((20, 64, 64, 12), (3, 3, 3)), ((5, 16, 16, 12), (6, 6, 6)), ((5, 16, 16, 24), (14, 14, 14))],
        8784,
        89.6,
    ),
}


@pytest.mark.parametrize("name", LECTURE)
def test_the_networks_of_the_lecture_have_its_table_to_the_digit(name):
    config = vjax.load_config(f"lecture/{name}")
    layers = describe_layers(config.create_network(10), config.test_view.shape[1:])
    rows, parameters, millions = LECTURE[name]
    assert [(layer.shape, layer.field) for layer in layers[:3]] == rows
    assert layers[-2].name == "average"
    assert (layers[-2].shape[-1], layers[-2].field) == (24, (20, 64, 64))
    assert sum(layer.parameters for layer in layers[:-1]) == parameters
    assert round(sum(layer.multiply_adds for layer in layers) / 1e6, 1) == millions


@pytest.mark.parametrize("name", [name for name in models.NETWORKS if name not in SLOW_TO_TRACE])
def test_the_layers_of_a_network_add_up_to_its_cost(name):
    card = card_of(models.NETWORKS[name])
    network, clip_shape = models.create(name, card.num_classes), (*card.clip, 3)
    layers = describe_layers(network, clip_shape)
    assert sum(layer.parameters for layer in layers) == forward_cost(network, clip_shape).parameters
    assert sum(layer.multiply_adds for layer in layers) == forward_cost(network, clip_shape).multiply_adds
    assert len({layer.name for layer in layers}) == len(layers)
    assert all(0 < near <= far for layer in layers for near, far in zip(layer.field, clip_shape, strict=False))


def test_a_layer_that_is_called_twice_has_its_parameters_once():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            layer = nn.Dense(3)
            return layer(layer(x.mean((2, 3))))

    layers = describe_layers(Twice(), (4, 16, 16, 3))
    assert [layer.parameters for layer in layers if layer.kind == "Dense"] == [12, 0]


def test_a_norm_that_pools_is_one_layer_and_dropout_none():
    layers = describe_layers(make("slow_fusion", backbone={**SMALL, "norm": "group"}, dropout=0.5), (4, 16, 16, 3))
    assert [layer.kind for layer in layers] == ["Conv", "GroupNorm", "Conv", "GroupNorm", "Average", "Dense"]
    assert layers[1].shape == (2, 8, 8, 8)
    assert layers[1].field == (3, 4, 4)  # the first frames of the clip have none before them
    assert layers[1].bytes == 2 * 8 * 8 * 8 * 4


@pytest.mark.parametrize("name", ["single_frame", "late_pool"])
def test_networks_that_see_frames_alone_cost_in_proportion_to_the_frames(name):
    network, head = make(name), 16 * 5
    # Late pool applies its head once per clip, single frame once per frame.
    fixed = head if name == "late_pool" else 0
    per_frame = multiply_adds(network, (1, 16, 16, 3)) - fixed
    for num_frames in (2, 7):
        assert multiply_adds(network, (num_frames, 16, 16, 3)) == num_frames * per_frame + fixed


def test_concatenation_costs_its_hidden_layer_more_than_pooling():
    clip_shape, hidden, num_classes = (4, 16, 16, 3), 32, 5
    pool, concat = make("late_pool"), make("late_concat", hidden=hidden)
    features = 4 * (4 * 4 * 16)
    heads = features * hidden + hidden * num_classes - 16 * num_classes
    assert multiply_adds(concat, clip_shape) - multiply_adds(pool, clip_shape) == heads
    added = count_parameters(shapes_of(concat, clip_shape)) - count_parameters(shapes_of(pool, clip_shape))
    assert added == heads + 3 * hidden  # plus the hidden layer's biases, and the scales and biases of its norm


@each_network
def test_neither_the_norm_nor_the_dtype_nor_dropout_changes_the_multiply_adds(name):
    plain = multiply_adds(make(name), (4, 16, 16, 3))
    other = make(name, backbone={**SMALL, "norm": "group"}, dtype="bfloat16", dropout=0.5)
    assert multiply_adds(other, (4, 16, 16, 3)) == plain > 0


@each_network
def test_counting_computes_nothing_however_large_the_clip(name):
    # 10^4 frames of 4096 pixels would take two terabytes.
    assert multiply_adds(make(name), (10_000, 4096, 4096, 3)) > 10**12


@each_network
def test_parameters_are_counted_the_same_from_arrays_as_from_shapes(name):
    network = make(name)
    arrays = random_variables(network, (4, 8, 8, 3))["params"]
    assert count_parameters(arrays) == sum(leaf.size for leaf in jax.tree.leaves(arrays))
    assert count_parameters(shapes_of(network, (4, 8, 8, 3))) == count_parameters(arrays)


def test_a_number_is_one_parameter_and_an_empty_tree_has_none():
    assert count_parameters({"scale": np.float32(1), "kernel": np.zeros((2, 3))}) == 7
    assert count_parameters({}) == 0


class Attention(nn.Module):
    """A layer that `multiply_adds` does not know."""

    num_classes: int = 2

    @nn.compact
    def __call__(self, clips, *, train):
        del train
        kernel = self.param("kernel", nn.initializers.ones, (3, self.num_classes))
        return (clips.mean((1, 2, 3)) @ kernel)[:, None]


def test_a_parameter_whose_multiply_adds_are_not_known_is_named():
    with pytest.raises(InputError, match=r"the parameter kernel, of shape \(3, 2\), are not known"):
        multiply_adds(Attention(), (4, 8, 8, 3))


class Grouped(nn.Module):
    """A grouped convolution and a linear layer of flax."""

    @nn.compact
    def __call__(self, clips, *, train):
        del train
        return nn.Dense(5)(nn.Conv(6, (1, 3, 3), feature_group_count=3)(clips).mean((1, 2, 3)))[:, None]


def test_flaxs_own_layers_are_counted():
    assert multiply_adds(Grouped(), (2, 4, 4, 3)) == 2 * 4 * 4 * (3 * 3 * 6) + 6 * 5


def test_a_depthwise_convolution_costs_its_taps_for_each_channel_and_output():
    class Network(nn.Module):
        @nn.compact
        def __call__(self, clips, *, train):
            return DepthwiseConv((3, 5, 5), (1, 2, 2))(clips)

    assert multiply_adds(Network(), (4, 9, 8, 6)) == (4 * 5 * 4) * (3 * 5 * 5) * 6
