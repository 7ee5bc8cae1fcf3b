import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from jax import lax

from vjax.layers import conv_forms
from vjax.layers.conv import space_time_conv
from vjax.layers.norm import NO_POOL, normalize_batch
from vjax.layers.pool import average_windows, max_pool, overlapping_max_pool

# Every step of shrinking would compile another program.
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)

windows = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))


def pool_inputs(window, outs, rest, seed):
    """Returns a clip with ties, whose sizes are `outs` windows plus a rest, and the slices that cut off the rest."""
    kept = [size * out for size, out in zip(window, outs, strict=True)]
    sizes = [size + min(extra, w - 1) for size, extra, w in zip(kept, rest, window, strict=True)]
    x = np.random.default_rng(seed).integers(-3, 4, (2, *sizes, 2)).astype(np.float32)
    return x, (slice(None), *map(slice, kept))


@given(window=windows, outs=windows, rest=st.tuples(*[st.integers(0, 2)] * 3), seed=st.integers(0, 2**16))
@settings(deadline=None, max_examples=12, phases=NO_SHRINKING)
def test_max_pool_is_that_of_lax_on_whole_windows_and_drops_the_rest(window, outs, rest, seed):
    x, whole = pool_inputs(window, outs, rest, seed)
    expected = lax.reduce_window(x[whole], -np.inf, lax.max, (1, *window, 1), (1, *window, 1), "VALID")
    dropped = np.full_like(x, np.inf)
    dropped[whole] = x[whole]
    chex.assert_shape(expected, (2, *outs, 2))
    np.testing.assert_array_equal(max_pool(jnp.asarray(dropped), window), expected)


@given(window=windows, outs=windows, rest=st.tuples(*[st.integers(0, 2)] * 3), seed=st.integers(0, 2**16))
@settings(deadline=None, max_examples=12, phases=NO_SHRINKING)
def test_the_gradient_of_max_pool_reaches_the_maxima_alone_and_all_of_it_does(window, outs, rest, seed):
    x, whole = pool_inputs(window, outs, rest, seed)
    weights = np.random.default_rng(seed).normal(size=(2, *outs, 2)).astype(np.float32)
    pooled, pull = jax.vjp(jax.jit(lambda x: max_pool(x, window)), x)
    (grad,) = pull(weights)
    assert np.isfinite(grad).all()
    largest = np.full_like(x, np.inf)
    largest[whole] = np.kron(pooled, np.ones((1, *window, 1)))
    assert (np.asarray(grad)[x < largest] == 0).all()
    arrived = lax.reduce_window(grad[whole], 0.0, lax.add, (1, *window, 1), (1, *window, 1), "VALID")
    np.testing.assert_allclose(arrived, weights, rtol=1e-4, atol=1e-5)


@given(window=windows, outs=windows, seed=st.integers(0, 2**16))
@settings(deadline=None, max_examples=12, phases=NO_SHRINKING)
def test_of_equal_maxima_the_first_gets_the_gradient_as_in_lax(window, outs, seed):
    x, _ = pool_inputs(window, outs, (0, 0, 0), seed)
    weights = np.random.default_rng(seed).normal(size=(2, *outs, 2)).astype(np.float32)

    def in_lax(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *window, 1), "VALID")

    @jax.jit  # one program instead of one for every operation
    def both(x):
        return [jax.vjp(pool, x)[1](weights) for pool in (in_lax, lambda x: max_pool(x, window))]

    expected, found = both(x)
    np.testing.assert_array_equal(found, expected)


odd_windows = st.sampled_from([(1, 3, 3), (3, 3, 3), (3, 1, 1), (1, 1, 1), (5, 3, 1)])
strides = st.sampled_from([(1, 1, 1), (1, 2, 2), (2, 2, 2), (3, 1, 2)])
sizes = st.tuples(*[st.integers(1, 7)] * 3)


def padded_pool(x, window, strides):
    """The max pool of lax with the padding of PyTorch; its gradient goes to the first maximum too."""
    pads = ((0, 0), *[((size - 1) // 2,) * 2 for size in window], (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), pads)


@given(window=odd_windows, strides=strides, sizes=sizes, seed=st.integers(0, 2**16))
@settings(deadline=None, max_examples=8, phases=NO_SHRINKING)
def test_an_overlapping_max_pool_and_its_gradient_are_laxs_also_where_values_are_equal(window, strides, sizes, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, (2, *sizes, 2)).astype(np.float32)
    outs = [-(-size // stride) for size, stride in zip(sizes, strides, strict=True)]
    # Whole numbers, so that sums do not depend on their order.
    weights = rng.integers(-9, 10, (2, *outs, 2)).astype(np.float32)

    @jax.jit
    def both(x):
        results = [jax.vjp(functools.partial(pool, window=window, strides=strides), x)
                   for pool in (padded_pool, overlapping_max_pool)]  # fmt: skip
        return [(out, pull(weights)[0]) for out, pull in results]

    expected, found = both(x)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize(
    ("window", "strides"), [((3, 3, 3), (1, 1, 1)), ((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2))]
)
def test_in_a_compiled_step_the_gradient_through_an_overlapping_pool_is_that_of_float64(window, strides):
    """XLA computes the pool's input in several fusions, whose results differ in the last digit."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 19, 18, 3)).astype(np.float32)
    params = {
        "first": 0.3 * rng.normal(size=(3, 3, 3, 3, 16)).astype(np.float32),
        "norm": {"scale": rng.uniform(0.5, 1.5, 16).astype(np.float32), "bias": np.full(16, 0.1, np.float32)},
        "last": 0.3 * rng.normal(size=(1, 1, 1, 16, 4)).astype(np.float32),
    }

    def plain_norm(x, scale, bias):
        return (x - x.mean((0, 1, 2, 3))) / jnp.sqrt(x.var((0, 1, 2, 3)) + 1e-5) * scale + bias

    def loss(params, x, conv, normalize, pool):
        y = jax.nn.relu(normalize(conv(x, params["first"]), **params["norm"]))
        out = conv(pool(y, window, strides), params["last"])
        return jnp.square(out).mean() + (out[:, ::2] * 0.1).sum()

    def our_norm(x, scale, bias):
        return normalize_batch(x, scale, bias, NO_POOL, 1e-5)[0]

    def step(*layers):
        return jax.jit(jax.grad(functools.partial(loss, conv=layers[0], normalize=layers[1], pool=layers[2]), (0, 1)))

    found = step(space_time_conv, our_norm, overlapping_max_pool)(params, x)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda array: array.astype(np.float64), (params, x))
        plain_conv = functools.partial(conv_forms.native, strides=(1, 1, 1))
        expected = step(plain_conv, plain_norm, padded_pool)(*wide)
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.linalg.norm(one - other) < 2e-5 * np.linalg.norm(other) + 1e-6 * scale


@given(window=st.tuples(*[st.integers(1, 4)] * 3), sizes=sizes, seed=st.integers(0, 2**16))
@settings(deadline=None, max_examples=5, phases=NO_SHRINKING)
def test_the_means_of_all_windows_are_laxs_and_a_larger_window_covers_the_axis(window, sizes, seed):
    x = np.random.default_rng(seed).normal(size=(2, *sizes, 2)).astype(np.float32)
    fitting = tuple(map(min, window, sizes))
    sums = lax.reduce_window(x, 0.0, lax.add, (1, *fitting, 1), (1, 1, 1, 1, 1), "VALID")
    np.testing.assert_allclose(average_windows(x, window), sums / np.prod(fitting), rtol=1e-5, atol=1e-5)


def test_a_window_without_a_centre_is_refused():
    with pytest.raises(AssertionError, match="no centre"):
        overlapping_max_pool(jnp.zeros((1, 4, 4, 4, 1)), (2, 3, 3), (1, 1, 1))
