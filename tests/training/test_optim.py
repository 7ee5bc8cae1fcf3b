import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vjax.errors import InputError
from vjax.training.optim import create_optimizer, is_kernel, warmup_cosine

PARAMS = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
ZERO = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}


def step(config, gradient, params=PARAMS):
    optimizer, _ = create_optimizer(config, num_steps=10)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    return optax.apply_updates(params, updates)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weight_decay_shrinks_kernels_and_leaves_biases_alone(name):
    after = step({"name": name, "learning_rate": 0.1, "weight_decay": 0.5}, ZERO)
    np.testing.assert_allclose(after["kernel"], np.full((2, 2), 1 - 0.1 * 0.5), rtol=1e-6)
    np.testing.assert_array_equal(after["bias"], PARAMS["bias"])


def test_kernels_are_what_has_more_than_one_axis():
    assert is_kernel(PARAMS) == {"kernel": True, "bias": False}


def test_the_rate_warms_up_linearly_peaks_and_ends_at_zero():
    schedule = warmup_cosine(0.4, warmup=4, num_steps=20)
    np.testing.assert_allclose([schedule(i) for i in range(5)], [0, 0.1, 0.2, 0.3, 0.4], rtol=1e-5)
    np.testing.assert_allclose(schedule(12), 0.2, rtol=1e-5)
    np.testing.assert_allclose(schedule(20), 0, atol=1e-7)


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert float(np.asarray(warmup_cosine(0.4, warmup=0, num_steps=20)(0))) == pytest.approx(0.4)


def test_sgd_has_momentum():
    optimizer, _ = create_optimizer(
        {"name": "sgd", "learning_rate": 1.0, "momentum": 0.5, "weight_decay": 0.0}, num_steps=10**6
    )
    gradient = {"kernel": jnp.zeros((2, 2)), "bias": jnp.ones(2)}
    state = optimizer.init(PARAMS)
    moves = []
    for _ in range(3):
        updates, state = optimizer.update(gradient, state, PARAMS)
        moves.append(float(updates["bias"][0]))
    np.testing.assert_allclose(moves, [-1, -1.5, -1.75], rtol=1e-4)


def test_gradients_are_clipped_to_their_global_norm():
    config = {"name": "sgd", "learning_rate": 1.0, "weight_decay": 0.0, "clip_norm": 1.0}
    large = {"kernel": jnp.full((2, 2), 30.0), "bias": jnp.full(2, 40.0)}
    after = step(config, large)
    moved = optax.tree.norm({key: after[key] - PARAMS[key] for key in PARAMS})
    np.testing.assert_allclose(moved, 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "adam", "learning_rate": 1.0}, "config.optimizer does not know 'adam'.*did you mean 'adamw'"),
        ({"name": "sgd", "learning_rate": 1.0, "momentun": 0.9}, "does not know 'momentun'.*did you mean 'momentum'"),
        ({"name": "sgd"}, "config.optimizer 'sgd' needs a value for: learning_rate"),
        ({"name": "sgd", "learning_rate": 1.0, "warmup": 10}, r"warmup must lie in \[0, num_steps=10\)"),
    ],
)
def test_a_config_that_does_not_fit_is_explained(config, message):
    with pytest.raises(InputError, match=message):
        create_optimizer(config, num_steps=10)
