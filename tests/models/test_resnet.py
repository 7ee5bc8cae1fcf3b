import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from hypothesis import given
from hypothesis import strategies as st
from random_variables import random_variables

from vjax.errors import InputError
from vjax.layers.conv import Conv
from vjax.layers.norm import norm_layer
from vjax.models.resnet import BasicBlock, Bottleneck, FactoredConv, ResNet, equal_width

# XLA takes longer to optimise a network of this size than to run it.
UNOPTIMISED = {"xla_backend_optimization_level": 0}
SMALL = {"widths": (4, 8), "depths": (1, 2)}
KINDS = {
    "basic": ResNet(temporal=(True, True, True), **SMALL),
    "bottleneck": ResNet(temporal=(True, True, True), block="bottleneck", **SMALL),
    "mixed": ResNet(temporal=(True, True, False), **SMALL),
    "factored by block": ResNet(temporal=(True, True, True), factored="block", stem_between=5, **SMALL),
    "factored by convolution": ResNet(temporal=(True, True, True), factored="convolution", **SMALL),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def make_clips(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def shapes_of(module, clip_shape=(4, 8, 8, 3)):
    """Returns the shapes of a module's output and of its variables, for a clip."""
    clips = jax.ShapeDtypeStruct((1, *clip_shape), jnp.float32)
    return jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x, train=False), clips)


def test_a_residual_block_starts_as_the_identity():
    block = BasicBlock(4, 1, temporal=True, conv=Conv, norm=norm_layer("batch", train=False, dtype=jnp.float32))
    x = np.abs(make_clips((2, 4, 6, 6, 4)))
    out, _ = jax.jit(block.init_with_output)(jax.random.key(0, impl="rbg"), x)  # rbg compiles faster
    np.testing.assert_array_equal(out, x)


def make_block(*, drop_path):
    """Returns a block with group norm, and random variables for it."""
    norm = norm_layer("group", train=True, dtype=jnp.float32)
    block = BasicBlock(4, 1, temporal=True, conv=Conv, norm=norm, drop_path=drop_path)
    shapes = jax.eval_shape(block.init, {"params": jax.random.key(0), "dropout": jax.random.key(0)}, jnp.zeros(ROWS))
    rng = np.random.default_rng(0)
    return block, jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


ROWS = (64, 2, 4, 4, 4)


def test_a_row_either_loses_its_residual_branch_as_a_whole_or_has_it_scaled_up():
    # The rows are so far above zero that the ReLU at the end of the block changes nothing.
    rows = 100 + make_clips(ROWS)
    block, variables = make_block(drop_path=0.0)
    branch = block.apply(variables, rows) - rows
    assert np.abs(branch).mean() > 0.1
    block, _ = make_block(drop_path=0.25)
    found = block.apply(variables, rows, rngs={"dropout": jax.random.key(1)}) - rows
    kept = np.abs(found).max(axis=(1, 2, 3, 4)) > 1e-3
    np.testing.assert_allclose(found[~kept], 0, atol=1e-5)
    np.testing.assert_allclose(found[kept], branch[kept] / 0.75, rtol=1e-3, atol=1e-4)
    assert 0.55 < kept.mean() < 0.95


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_a_block_that_does_not_start_as_the_identity_has_norms_of_scale_one(block):
    norm = norm_layer("batch", train=False, dtype=jnp.float32)
    for identity_start in (False, True):
        made = block(4, 2, temporal=True, conv=Conv, norm=norm, identity_start=identity_start)
        init = jax.jit(made.init, compiler_options=UNOPTIMISED)
        params = init(jax.random.key(0), jnp.zeros((1, 2, 4, 4, 3)))["params"]
        scales = [leaf["scale"].mean() for name, leaf in sorted(params.items()) if name.startswith("BatchNorm")]
        zeros = [len(scales) - 2] if identity_start else []
        assert [index for index, scale in enumerate(scales) if scale == 0] == zeros
        assert all(scale == 1 for index, scale in enumerate(scales) if index not in zeros)


def test_a_bottleneck_convolves_over_space_and_time_between_two_convolutions_of_size_1():
    norm = norm_layer("batch", train=False, dtype=jnp.float32)
    block = Bottleneck(4, 2, temporal=True, conv=Conv, norm=norm)
    out, variables = jax.eval_shape(block.init_with_output, jax.random.key(0), jnp.zeros((1, 5, 7, 8, 3)))
    assert out.shape == (1, 3, 4, 4, 16)
    kernels = [variables["params"][f"Conv_{index}"]["kernel"].shape for index in range(4)]
    assert kernels == [(1, 1, 1, 3, 4), (3, 3, 3, 4, 4), (1, 1, 1, 4, 16), (1, 1, 1, 3, 16)]


@each_kind
def test_every_stage_but_the_first_halves_space_and_time_where_it_is_temporal(kind):
    features, _ = shapes_of(KINDS[kind], (7, 20, 34, 3))
    expected = (1, 7 if kind == "mixed" else 4, 5, 9, 32 if kind == "bottleneck" else 8)
    assert features.shape == expected


def test_a_stage_that_is_not_temporal_has_no_kernel_over_time():
    _, variables = shapes_of(KINDS["mixed"])
    params = flatten_dict(variables["params"], sep="/")
    temporal = {name for name, leaf in params.items() if leaf.ndim == 5 and leaf.shape[0] > 1}
    assert temporal == {"Conv_0/kernel", "BasicBlock_0/Conv_0/kernel", "BasicBlock_0/Conv_1/kernel"}


def widths_between(kind):
    """Returns the channels between the two kernels of each factored convolution."""
    _, variables = shapes_of(KINDS[kind])
    params = flatten_dict(variables["params"], sep="/")
    first = re.compile(r"(.*FactoredConv_\d)/Conv_0/kernel")
    return {match[1]: leaf.shape[-1] for name, leaf in params.items() if (match := first.fullmatch(name))}


def test_the_width_of_a_factored_convolution_is_that_of_its_block_or_its_own():
    by_block, by_convolution = widths_between("factored by block"), widths_between("factored by convolution")
    assert by_block.pop("FactoredConv_0") == 5
    assert by_convolution.pop("FactoredConv_0") == equal_width((3, 7, 7), 3, 4)
    for widths, second in ((by_block, (4, 8)), (by_convolution, (8, 8))):
        assert widths["BasicBlock_1/FactoredConv_0"] == equal_width((3, 3, 3), 4, 8)
        assert widths["BasicBlock_1/FactoredConv_1"] == equal_width((3, 3, 3), *second)
    different = {name for name in by_block if by_block[name] != by_convolution[name]}
    assert different == {"BasicBlock_1/FactoredConv_1"}


@given(channels=st.integers(1, 512), features=st.integers(1, 512), space=st.sampled_from([3, 5, 7]))
def test_a_factored_convolution_has_no_more_parameters_than_the_one_it_replaces_and_misses_few(
    channels, features, space
):
    between = equal_width((3, space, space), channels, features)
    a_channel = space * space * channels + 3 * features
    whole = 3 * space * space * channels * features
    assert 0 <= whole - between * a_channel < a_channel


def test_a_factored_convolution_convolves_over_space_and_then_over_time():
    norm = norm_layer("batch", train=False, dtype=jnp.float32)
    conv = FactoredConv(6, (3, 5, 5), (2, 1, 2), norm=norm, between=7)
    out, variables = jax.eval_shape(conv.init_with_output, jax.random.key(0), jnp.zeros((1, 5, 8, 8, 3)))
    assert out.shape == (1, 3, 8, 4, 6)
    kernels = [variables["params"][name]["kernel"].shape for name in ("Conv_0", "Conv_1")]
    assert kernels == [(1, 5, 5, 3, 7), (3, 1, 1, 7, 6)]


# The other kinds are the resnet18 backbone's.
@pytest.mark.parametrize("kind", ["bottleneck", "factored by block"])
def test_every_parameter_is_reached_by_a_finite_gradient(kind):
    network, clips = KINDS[kind].clone(depths=(1, 1)), make_clips((2, 4, 8, 8, 3))
    variables = random_variables(network, clips.shape[1:])

    def loss(params):
        features, _ = network.apply({**variables, "params": params}, clips, train=True, mutable=["batch_stats"])
        return jnp.sum(features * jnp.cos(jnp.arange(features.size).reshape(features.shape)))

    grads = jax.jit(jax.grad(loss), compiler_options=UNOPTIMISED)(variables["params"])
    chex.assert_tree_all_finite(grads)
    assert not [path for path, grad in jax.tree.leaves_with_path(grads) if not np.any(grad)]


@each_kind
def test_rematerialisation_changes_neither_names_nor_shapes(kind):
    keys, clips = {name: jax.random.key(0) for name in ("params", "dropout")}, jnp.zeros((1, 4, 8, 8, 3))
    plain, again = (
        jax.eval_shape(functools.partial(KINDS[kind].clone(remat=remat).init, train=True), keys, clips)
        for remat in (False, True)
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(plain, again)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widths": ()}, r"a ResNet needs a width of 1 or more .* got \(\)"),
        ({"drop_path": 1.0}, "a ResNet's drop_path is a probability from 0 to below 1, got 1.0"),
        ({"depths": (2, 2)}, r"4 widths needs as many depths, .* got depths \(2, 2\) and temporal"),
        ({"temporal": (True,) * 4}, r"one value of temporal more; got depths \(2, 2, 2, 2\) and temporal \(True, "),
    ],
)
def test_fields_that_do_not_fit_each_other_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        ResNet(**{"temporal": (True,) * 5} | fields)
