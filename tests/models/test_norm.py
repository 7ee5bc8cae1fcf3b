import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vjax.models.norm import BatchNorm


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(1.5, 2.0, shape).astype(np.float32)


@given(sizes=st.lists(st.integers(2, 5), min_size=1, max_size=4), channels=st.integers(1, 4), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=15)
def test_batch_norm_and_its_gradients_are_those_of_flax(sizes, channels, seed):
    x, weights = draw(seed, *sizes, channels), draw(seed + 1, *sizes, channels)
    params = {"scale": draw(seed + 2, channels), "bias": draw(seed + 3, channels)}
    stats = {"mean": draw(seed + 4, channels), "var": np.abs(draw(seed + 5, channels))}

    def run(layer, params, x):
        def loss(params, x):
            out, new = layer.apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])
            return (out * weights).sum(), (out, new)

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)

    layers = BatchNorm(train=True), nn.BatchNorm(use_running_average=False, momentum=0.9)
    found, expected = jax.jit(lambda params, x: [run(layer, params, x) for layer in layers])(params, x)
    chex.assert_trees_all_close(found, expected, rtol=1e-3, atol=1e-3)


def test_batch_norm_evaluates_with_the_running_statistics():
    x, stats = draw(0, 4, 3), {"mean": draw(1, 3), "var": np.abs(draw(2, 3))}
    variables = {"params": {"scale": jnp.ones(3), "bias": jnp.zeros(3)}, "batch_stats": stats}
    found = BatchNorm(train=False).apply(variables, x)
    np.testing.assert_allclose(found, (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5), rtol=1e-5, atol=1e-5)


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
