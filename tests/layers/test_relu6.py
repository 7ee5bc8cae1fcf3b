import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vjax.layers.relu6 import relu6


def test_values_below_0_become_0_and_values_above_6_become_6():
    x = np.array([-np.inf, -1, 0, 0.5, 6, 7, np.inf], np.float32)
    np.testing.assert_array_equal(relu6(x), [0, 0, 0, 0.5, 6, 6, 6])


def test_a_gradient_passes_between_0_and_6_alone():
    x = jnp.array([-1, 0, 1e-6, 3, 5.999, 6, 7])
    np.testing.assert_array_equal(jax.vjp(relu6, x)[1](jnp.full(7, 2.0))[0], [0, 0, 2, 2, 2, 0, 0])


def test_numbers_that_are_none_are_not_hidden():
    assert np.isnan(relu6(np.float32(np.nan)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_dtype_stays_forward_and_backward(dtype):
    x = jnp.linspace(-1, 7, 5, dtype=dtype)
    out, pull = jax.vjp(relu6, x)
    assert out.dtype == pull(out)[0].dtype == x.dtype


def test_the_backward_pass_keeps_the_output_alone():
    kept = jax.tree.leaves(jax.eval_shape(lambda x: jax.vjp(relu6, x)[1], jnp.zeros(5)))
    assert [(leaf.shape, leaf.dtype) for leaf in kept] == [((5,), jnp.float32)]
