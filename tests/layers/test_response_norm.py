import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vjax.layers.response_norm import local_response_norm

# The published constants, and some that matter more to values of ordinary size.
CONSTANTS = [
    {"k": 2.0, "n": 5, "alpha": 1e-4, "beta": 0.5},
    {"k": 1.0, "n": 3, "alpha": 0.7, "beta": 0.75},
    {"k": 0.5, "n": 1, "alpha": 2.0, "beta": 1.0},
]
each_choice = pytest.mark.parametrize("constants", CONSTANTS, ids=lambda constants: f"n={constants['n']}")


def reference(x, *, k, n, alpha, beta):
    """The formula of Krizhevsky et al. 2012, channel by channel, in float64."""
    x, out = x.astype(np.float64), np.empty(x.shape)
    last = x.shape[-1] - 1
    for i in range(last + 1):
        near = x[..., max(0, i - n // 2) : min(last, i + n // 2) + 1]
        out[..., i] = x[..., i] / (k + alpha * (near**2).sum(-1)) ** beta
    return out


def draw(*shape, seed=0, std=30.0):
    return np.random.default_rng(seed).normal(scale=std, size=shape).astype(np.float32)


@each_choice
@given(channels=st.integers(1, 9), seed=st.integers(0, 2**16))
@settings(deadline=None, max_examples=8)
def test_it_is_the_published_formula(constants, channels, seed):
    x = draw(2, 3, channels, seed=seed)
    np.testing.assert_allclose(local_response_norm(x, **constants), reference(x, **constants), rtol=1e-5)


@each_choice
def test_its_gradient_is_that_of_the_formula(constants):
    x, weights = draw(2, 7), draw(2, 7, seed=1, std=1.0)
    grad = jax.jit(jax.grad(lambda x: (local_response_norm(x, **constants) * weights).sum()))(x)
    expected, step = np.empty(x.shape), 1e-3
    for at in np.ndindex(x.shape):
        moved = [x.astype(np.float64), x.astype(np.float64)]
        moved[0][at] -= step
        moved[1][at] += step
        low, high = ((reference(one, **constants) * weights).sum() for one in moved)
        expected[at] = (high - low) / (2 * step)
    np.testing.assert_allclose(grad, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e18])
def test_its_gradient_is_finite_for_values_of_any_size(value):
    x = jnp.full((2, 6), value)
    grad = jax.grad(lambda x: local_response_norm(x, **CONSTANTS[0]).sum())(x)
    chex.assert_tree_all_finite(grad)


def test_a_value_depends_on_two_channels_to_each_side_and_on_no_other_position():
    x = draw(3, 9)
    touched = x.copy()
    touched[1, 4] += 10
    changed = np.asarray(local_response_norm(x, **CONSTANTS[0]) != local_response_norm(touched, **CONSTANTS[0]))
    assert np.argwhere(changed).tolist() == [[1, channel] for channel in range(2, 7)]


def test_half_precision_is_computed_in_float32():
    x = jnp.asarray(draw(4, 9, std=3.0), jnp.bfloat16)
    found = local_response_norm(x, **CONSTANTS[1])
    assert found.dtype == jnp.bfloat16
    wide = local_response_norm(x.astype(jnp.float32), **CONSTANTS[1])
    np.testing.assert_array_equal(found, wide.astype(jnp.bfloat16))
