import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vjax.layers.norm import BatchNorm, GroupNorm, Offset, norm_layer


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(1.5, 2.0, shape).astype(np.float32)


@given(sizes=st.lists(st.integers(2, 5), min_size=1, max_size=4), channels=st.integers(1, 4), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=15)
def test_batch_norm_and_its_gradients_are_those_of_flax(sizes, channels, seed):
    epsilon = (1e-5, 1e-3)[seed % 2]
    x, weights = draw(seed, *sizes, channels), draw(seed + 1, *sizes, channels)
    params = {"scale": draw(seed + 2, channels), "bias": draw(seed + 3, channels)}
    stats = {"mean": draw(seed + 4, channels), "var": np.abs(draw(seed + 5, channels))}

    def run(layer, params, x):
        def loss(params, x):
            out, new = layer.apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])
            return (out * weights).sum(), (out, new)

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)

    found = jax.jit(functools.partial(run, BatchNorm(train=True, epsilon=epsilon)))(params, x)
    # In float64, because flax's own gradient is off by 4e-2 in float32 if two rows are nearly equal.
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda array: array.astype(np.float64), (params, stats, x))
        stats = wide[1]
        layer = nn.BatchNorm(use_running_average=False, momentum=0.9, epsilon=epsilon, param_dtype=np.float64)
        expected = jax.jit(functools.partial(run, layer))(wide[0], wide[2])
    chex.assert_trees_all_close(found, jax.tree.map(np.float32, expected), rtol=1e-3, atol=1e-3)


@given(
    outs=st.tuples(*[st.integers(1, 3)] * 3),
    rest=st.tuples(*[st.integers(0, 1)] * 3),
    window=st.sampled_from([(2, 2, 2), (1, 2, 2), (3, 1, 2)]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=12)
def test_batch_norm_with_a_pool_and_its_gradients_are_a_max_pool_of_flaxs(outs, rest, window, seed):
    sizes = [out * width + min(extra, width - 1) for out, extra, width in zip(outs, rest, window, strict=True)]
    x, weights = draw(seed, 3, *sizes, 4), draw(seed + 1, 3, *outs, 4)
    # A negative scale reverses the order: the maxima are then where x is smallest.
    params = {"scale": np.float32([1.5, -0.7, 0.3, -2.0]), "bias": draw(seed + 3, 4)}
    stats = {"mean": draw(seed + 4, 4), "var": np.abs(draw(seed + 5, 4))}

    def run(layer, pool, params, x):
        def loss(params, x):
            out, new = layer.apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])
            out = pool(out)
            return (out * weights).sum(), (out, new)

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)

    sides = (
        (BatchNorm(train=True, pool=window), lambda out: out),
        (nn.BatchNorm(use_running_average=False, momentum=0.9), lambda out: nn.max_pool(out, window, window)),
    )
    found, expected = jax.jit(lambda params, x: [run(*side, params, x) for side in sides])(params, x)
    chex.assert_trees_all_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("layer", [BatchNorm(train=False, pool=(2, 2, 2)), GroupNorm(pool=(2, 2, 2))])
def test_a_norm_with_a_pool_is_the_norm_and_then_the_pool(layer):
    x = draw(0, 2, 4, 4, 5, 8)
    variables = layer.init(jax.random.key(0), x)
    whole = layer.clone(pool=(1, 1, 1)).apply(variables, x)
    np.testing.assert_array_equal(layer.apply(variables, x), nn.max_pool(whole, (2, 2, 2), (2, 2, 2)))


def test_group_norm_is_right_where_the_mean_is_a_thousand_times_the_deviation():
    x = np.random.default_rng(0).normal(100, 0.1, (2, 64, 64, 8)).astype(np.float32)
    out, _ = jax.jit(GroupNorm().init_with_output)(jax.random.key(0), x)
    exact, axes = x.astype(np.float64), (1, 2)
    inverse = 1 / np.sqrt(exact.var(axes, keepdims=True) + 1e-6)
    np.testing.assert_allclose(out, (exact - exact.mean(axes, keepdims=True)) * inverse, atol=3e-4)


@pytest.mark.parametrize("epsilon", [1e-5, 1e-3])
def test_batch_norm_evaluates_with_the_running_statistics(epsilon):
    x, stats = draw(0, 4, 3), {"mean": draw(1, 3), "var": np.abs(draw(2, 3))}
    variables = {"params": {"scale": jnp.ones(3), "bias": jnp.zeros(3)}, "batch_stats": stats}
    found = BatchNorm(train=False, epsilon=epsilon).apply(variables, x)
    np.testing.assert_allclose(found, (x - stats["mean"]) / np.sqrt(stats["var"] + epsilon), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("train", [False, True])
def test_batch_norm_starts_with_a_mean_of_0_and_a_variance_of_1(train):
    variables = BatchNorm(train=train).init(jax.random.key(0), draw(0, 4, 3))
    chex.assert_trees_all_equal(variables["batch_stats"], {"mean": jnp.zeros(3), "var": jnp.ones(3)})


def test_batch_norm_keeps_its_statistics_in_float32_under_half_precision():
    x = jnp.asarray(draw(0, 64, 3), jnp.bfloat16)
    layer = BatchNorm(train=True, dtype=jnp.bfloat16)
    out, variables = layer.init_with_output(jax.random.key(0), x)
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    _, new = layer.apply(variables, x, mutable=["batch_stats"])
    expected = 0.1 * np.asarray(x, np.float32).mean(0)
    np.testing.assert_allclose(new["batch_stats"]["mean"], expected, rtol=1e-5)


# Each channel has 100,352 numbers. At the mean 100, float32 has a step of 8e-6: 8e-5 of the standard deviation.
FAR, SHAPE = (100.0, 0.1), (4, 8, 56, 56, 4)
NEAR = (1.0, 1.0)
each_distance = pytest.mark.parametrize("distance", [NEAR, FAR], ids=["near", "far"])


@functools.cache
def norm_in_training(distance):
    """Returns output, running statistics and input gradient of a batch norm in float32, and the same in float64."""
    mean, std = distance
    rng = np.random.default_rng(0)
    x, weights = rng.normal(mean, std, SHAPE).astype(np.float32), rng.normal(size=SHAPE).astype(np.float32)
    layer = BatchNorm(train=True)
    variables = layer.init(jax.random.key(0), x[:1, :1])

    @jax.jit
    def run(x):
        def loss(x):
            out, new = layer.apply(variables, x, mutable=["batch_stats"])
            return (out * weights).sum(), (out, new["batch_stats"])

        return jax.value_and_grad(loss, has_aux=True)(x)

    (_, (out, stats)), grad = run(x)
    axes = (0, 1, 2, 3)
    wide, inverse = x.astype(np.float64), 1 / np.sqrt(x.var(axes, dtype=np.float64) + 1e-5)
    unit = (wide - wide.mean(axes)) * inverse
    plain_grad = (weights - weights.mean(axes, dtype=np.float64) - unit * (weights * unit).mean(axes)) * inverse
    plain_stats = {"mean": 0.1 * wide.mean(axes), "var": 0.9 + 0.1 * wide.var(axes)}
    return (out, stats, grad), (unit, plain_stats, plain_grad)


@each_distance
def test_the_output_of_batch_norm_is_that_of_float64_however_far_the_mean(distance):
    found, expected = norm_in_training(distance)
    np.testing.assert_allclose(found[0], expected[0], atol=2e-3)


@each_distance
def test_the_running_statistics_are_those_of_float64_however_far_the_mean(distance):
    found, expected = norm_in_training(distance)
    np.testing.assert_allclose(found[1]["mean"], expected[1]["mean"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found[1]["var"] - 0.9, expected[1]["var"] - 0.9, rtol=1e-3)


@each_distance
def test_the_gradient_of_batch_norm_is_that_of_float64_however_far_the_mean(distance):
    found, expected = norm_in_training(distance)
    assert np.linalg.norm(found[2] - expected[2]) < 1e-3 * np.linalg.norm(expected[2])


@pytest.mark.parametrize("window", [(1, 1, 1), (2, 1, 2)])
def test_batch_norm_uses_and_keeps_its_running_statistics_in_training_if_they_are_not_mutable(window):
    x, weights = draw(0, 3, 4, 2, 6, 4), draw(1, 3, *(np.array((4, 2, 6)) // window), 4)
    params = {"scale": np.float32([1.5, -0.7, 0.3, -2.0]), "bias": draw(2, 4)}
    stats = {"mean": draw(3, 4), "var": np.abs(draw(4, 4))}

    def run(layer, pool, params, x):
        def loss(params, x):
            out, updates = layer.apply({"params": params, "batch_stats": stats}, x, mutable=[])
            assert not updates
            return (pool(out) * weights).sum(), pool(out)

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)

    found = jax.jit(functools.partial(run, BatchNorm(train=True, pool=window), lambda out: out))(params, x)
    flaxs = nn.BatchNorm(use_running_average=True, epsilon=1e-5)
    expected = jax.jit(functools.partial(run, flaxs, lambda out: nn.max_pool(out, window, window)))(params, x)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-4)


def test_without_a_norm_each_channel_gets_an_offset_before_the_pool():
    x, bias = draw(0, 2, 3, 4, 5, 6), draw(1, 6)
    layer = norm_layer("none", train=True, dtype=jnp.float32)(pool=(1, 2, 2))
    assert isinstance(layer, Offset)
    found = layer.apply({"params": {"bias": bias}}, x)
    expected = nn.max_pool((x + bias)[:, :, :4, :4], (1, 2, 2), (1, 2, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
