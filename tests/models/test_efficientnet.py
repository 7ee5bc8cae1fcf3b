import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from published_networks import shapes_inside
from random_variables import random_variables

from vjax import models
from vjax.errors import InputError
from vjax.models.card import in_backbone
from vjax.models.cost import count_parameters, multiply_adds
from vjax.models.efficientnet import EfficientNet, MBConv, Stage, efficientnet_lite0, torch_names

LITE0 = {"name": "efficientnet_lite0"}
# XLA takes longer to optimise a network of this size than to run it.
UNOPTIMISED = {"xla_backend_optimization_level": 0}
# As few blocks as have every kind of kernel, stride and shortcut.
FEW = {
    "stages": (Stage(1, 1, 3, 1, 1, 8), Stage(2, 2, 5, 2, 2, 12)),
    "stem_features": 8,
    "features": 16,
}


def test_parameters_and_multiply_adds_are_those_of_the_published_network():
    """The authors give 407 M, without saying what they count; convolutions and the linear layer have 385,187,552."""
    network = models.create("single_frame", 1000, backbone=LITE0)
    _, params, _ = shapes_inside(network, (1, 224, 224, 3))
    assert count_parameters(params) == 4_652_008
    assert multiply_adds(network, (1, 224, 224, 3)) == 385_187_552


@pytest.mark.parametrize("size", [(224, 224), (45, 64)])
@pytest.mark.parametrize("network", ["single_frame", "slow_fusion"])
def test_the_blocks_have_the_sizes_of_the_papers_table(network, size):
    """Source: Tan and Le 2019, table 1. Time is ours: it is halved with space in the stages of 40, 80 and 192."""
    _, _, outputs = shapes_inside(models.create(network, 5, backbone=LITE0), (16, *size, 3))
    blocks = [outputs[f"backbone/MBConv_{index}"].shape for index in range(16)]
    halvings = [1] + 2 * [2] + 2 * [3] + 6 * [4] + 5 * [5]
    widths = [16] + 2 * [24] + 2 * [40] + 3 * [80] + 3 * [112] + 4 * [192] + [320]
    times = [16] * 3 + [8] * 2 + [4] * 6 + [2] * 5
    rows = 2 if network == "slow_fusion" else 32
    assert blocks == [
        (rows, time if network == "slow_fusion" else 1, *(-(-side // 2**halved) for side in size), width)
        for time, halved, width in zip(times, halvings, widths, strict=True)
    ]
    assert outputs["backbone"].shape == (*blocks[-1][:4], 1280)


def test_the_stem_and_the_depthwise_kernels_alone_cover_time_and_nothing_else_differs_from_2d():
    flat, deep = (
        flatten_dict(shapes_inside(models.create(name, 5, backbone=LITE0), (4, 32, 32, 3))[1], sep="/")
        for name in ("single_frame", "slow_fusion")
    )
    assert flat.keys() == deep.keys()
    for path, leaf in flat.items():
        over_time = path.endswith(("stem/kernel", "depthwise/kernel"))
        assert deep[path].shape == ((3, *leaf.shape[1:]) if over_time else leaf.shape), path


def test_an_inflated_network_gives_the_features_of_its_frame_away_from_the_ends_of_a_video():
    flat, deep = EfficientNet(False, **FEW), EfficientNet(True, **FEW)
    variables = random_variables(flat, (1, 20, 23, 3))
    shapes = jax.eval_shape(functools.partial(deep.init, train=False), jax.random.key(0), jnp.zeros((1, 4, 20, 23, 3)))
    wanted = flatten_dict(shapes, sep="/")
    inflated = {
        path: np.repeat(leaf, wanted[path].shape[0], 0) / wanted[path].shape[0] if leaf.ndim == 5 else leaf
        for path, leaf in flatten_dict(variables, sep="/").items()
    }
    frame = np.random.default_rng(0).normal(size=(1, 1, 20, 23, 3)).astype(np.float32)
    run = jax.jit(
        lambda network, variables, clips: network.apply(variables, clips, train=False),
        static_argnums=0,
        compiler_options=UNOPTIMISED,
    )
    expected = run(flat, variables, frame)
    found = run(deep, unflatten_dict(inflated, sep="/"), np.repeat(frame, 24, 1))
    assert found.shape == (1, 12, *expected.shape[2:])
    assert np.std(expected) > 0.1
    # A feature sees 6 frames to each side, and zeros beyond the ends.
    np.testing.assert_allclose(found[:, 3:9], np.repeat(expected, 6, 1), rtol=1e-4, atol=1e-5)
    assert np.abs(found[:, 0] - expected[:, 0]).max() > 1e-2


@pytest.mark.parametrize("temporal", [False, True])
@pytest.mark.parametrize("clip_shape", [(1, 1, 1, 3), (3, 9, 14, 3), (9, 33, 64, 3)])
def test_it_divides_space_by_32_and_time_by_8_and_rounds_up(temporal, clip_shape):
    backbone = efficientnet_lite0(temporal=temporal, dtype=jnp.bfloat16)
    features, variables = jax.eval_shape(
        lambda x: backbone.init_with_output(jax.random.key(0), x, train=False), jnp.zeros((2, *clip_shape))
    )
    frames, height, width, _ = clip_shape
    assert features.shape == (2, -(-frames // 8) if temporal else frames, -(-height // 32), -(-width // 32), 1280)
    assert features.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_batch_norms_have_tensorflows_epsilon():
    epsilons = set()

    def watch(call, args, kwargs, context):
        epsilons.add(getattr(context.module, "epsilon", None))
        return call(*args, **kwargs)

    with nn.intercept_methods(watch):
        shapes_inside(models.create("single_frame", 5, backbone=LITE0), (1, 32, 32, 3))
    assert epsilons == {None, 1e-3}


def test_drop_path_rises_to_its_full_rate_over_blocks_with_a_shortcut_and_is_for_training_alone():
    rates = {}

    def watch(call, args, kwargs, context):
        if isinstance(context.module, nn.Dropout):
            rates.setdefault(kwargs.get("train"), []).append(context.module.rate)
        return call(*args, **kwargs)

    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    backbone = efficientnet_lite0(temporal=False, drop_path=0.32)
    for train in (True, False):
        rates.clear()
        with nn.intercept_methods(watch):
            jax.eval_shape(lambda train=train: backbone.init(keys, jnp.zeros((1, 1, 32, 32, 3)), train=train))
        blocks = [3, 5, 7, 8, 10, 11, 13, 14, 15]  # from 1; the others change their numbers of channels or sizes
        np.testing.assert_allclose(rates[None], [0.02 * block if train else 0 for block in blocks], atol=1e-9)


def test_a_dropped_block_is_its_input():
    norm = functools.partial(nn.BatchNorm, use_running_average=True)
    block = MBConv(4, 2, (1, 3, 3), (1, 1, 1), norm=norm, drop_path=0.5)
    x = np.random.default_rng(0).normal(size=(64, 1, 3, 3, 4)).astype(np.float32)
    keys = {"params": jax.random.key(0, impl="rbg"), "dropout": jax.random.key(1, impl="rbg")}  # compiles faster
    out, _ = jax.jit(block.init_with_output, compiler_options=UNOPTIMISED)(keys, x)
    same = (np.asarray(out) == x).all((1, 2, 3, 4))
    assert 16 < same.sum() < 48


def test_a_strided_block_has_no_shortcut_even_where_sizes_and_channels_stay():
    norm = functools.partial(nn.BatchNorm, use_running_average=True)
    x = np.full((1, 1, 1, 1, 4), 5, np.float32)
    block = MBConv(4, 2, (1, 3, 3), (1, 2, 2), norm=norm)
    shapes = jax.eval_shape(block.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    assert not jax.jit(block.apply, compiler_options=UNOPTIMISED)(variables, x).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop_path": 1.0}, "an EfficientNet's drop_path is a probability from 0 to below 1, got 1.0"),
        ({"norm": "layer"}, "norm does not know 'layer'"),
        ({"widths": (4, 8)}, "does not know 'widths'.*Allowed: drop_path, norm, remat$"),
    ],
)
def test_what_is_not_allowed_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        models.create("single_frame", 7, backbone=LITE0 | options)


def names_of(network):
    shapes = jax.eval_shape(functools.partial(network.init, train=False), jax.random.key(0), jnp.zeros((1, 4, 8, 8, 3)))
    return shapes, in_backbone(torch_names)(shapes)


@pytest.mark.parametrize("network", ["single_frame", "slow_fusion"])
def test_each_variable_has_a_name_of_its_own_in_the_published_weights(network):
    shapes, names = names_of(models.create(network, 7, backbone=LITE0))
    classifier = {"params/head/logits/kernel", "params/head/logits/bias"}
    assert names.keys() == flatten_dict(shapes, sep="/").keys() - classifier
    assert len(set(names.values())) == len(names) == 245


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("params/backbone/stem/kernel", "_conv_stem.weight"),
        ("params/backbone/stem_norm/scale", "_bn0.weight"),
        ("params/backbone/MBConv_0/depthwise/kernel", "_blocks.0._depthwise_conv.weight"),
        ("params/backbone/MBConv_0/depthwise_norm/bias", "_blocks.0._bn1.bias"),
        ("params/backbone/MBConv_12/expand/kernel", "_blocks.12._expand_conv.weight"),
        ("batch_stats/backbone/MBConv_12/expand_norm/mean", "_blocks.12._bn0.running_mean"),
        ("batch_stats/backbone/MBConv_15/project_norm/var", "_blocks.15._bn2.running_var"),
        ("params/backbone/last/kernel", "_conv_head.weight"),
        ("params/backbone/last_norm/scale", "_bn1.weight"),
    ],
)
def test_a_variable_has_the_name_of_its_tensor(ours, theirs):
    assert names_of(models.create("single_frame", 7, backbone=LITE0))[1][ours] == theirs
