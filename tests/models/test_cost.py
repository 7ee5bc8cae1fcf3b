import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_variables import random_variables

from vjax import models
from vjax.errors import InputError
from vjax.layers.conv import Conv
from vjax.layers.depthwise import DepthwiseConv
from vjax.layers.pool import max_pool
from vjax.models.cost import count_parameters, multiply_adds
from vjax.models.fusion import EarlyFusion, LateFusion, SlowFusion

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


class LectureBackbone(nn.Module):
    """The lecture's backbone: two convolutions of widths 12 and 24 with a pool of 4 between them, and no norm."""

    temporal: bool

    @nn.compact
    def __call__(self, x, *, train):
        sizes = [(size if self.temporal else 1, size, size) for size in (3, 4)]
        x = max_pool(nn.relu(Conv(12, sizes[0])(x)), sizes[1])
        return nn.relu(Conv(24, sizes[0])(x))


LECTURE = {
    "late": (LateFusion(num_classes=10, backbone=LectureBackbone(temporal=False), fuse="pool"), 2952, 39_813_120),
    "early": (EarlyFusion(num_classes=10, backbone=LectureBackbone(temporal=False)), 9108, 27_205_632),
    "3d": (SlowFusion(num_classes=10, backbone=LectureBackbone(temporal=True)), 8784, 89_579_520),
}


@pytest.mark.parametrize("name", LECTURE)
def test_the_networks_of_the_lecture_are_counted_to_the_digit(name):
    network, parameters, expected = LECTURE[name]
    clip_shape, head = (20, 64, 64, 3), 24 * 10
    # The lecture counts a bias for each of the 12 + 24 channels; vjax's Conv has none.
    assert count_parameters(shapes_of(network, clip_shape)["backbone"]) + 12 + 24 == parameters
    assert multiply_adds(network, clip_shape) == expected + head


@pytest.mark.parametrize(("name", "millions"), [("late", 39.8), ("early", 27.2), ("3d", 89.6)])
def test_the_networks_of_the_lecture_cost_what_its_table_says(name, millions):
    assert round(multiply_adds(LECTURE[name][0], (20, 64, 64, 3)) / 1e6, 1) == millions


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
