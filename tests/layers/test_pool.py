import chex
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from jax import lax

from vjax.layers.pool import max_pool

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
