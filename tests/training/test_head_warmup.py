import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vjax.errors import InputError
from vjax.training.head_warmup import check_head_warmup, warm_up_head
from vjax.training.layer_rates import LayerRates

PARAMS = {
    "backbone": {"Conv_0": {"kernel": jnp.full((2, 3), 1.1)}},
    "head": {"hidden": jnp.full(2, 0.3), "logits": {"kernel": jnp.full((3, 2), 3.0), "bias": jnp.full(2, 4.0)}},
}
OPTIMIZERS = {"sgd": optax.sgd(0.1, momentum=0.9), "adamw": optax.adamw(0.1, weight_decay=0.5)}


def steps(optimizer, num_steps, grads=PARAMS):
    """The parameters after each step, and the state of the optimizer at the end."""
    params, state, found = PARAMS, optimizer.init(PARAMS), []
    for _ in range(num_steps):
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        found.append(params)
    return found, state


def without_logits(params):
    return params["backbone"], params["head"]["hidden"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_only_the_classifier_learns_at_first_and_then_every_layer_does(name):
    *first, last = steps(warm_up_head(OPTIMIZERS[name], 3), 4)[0]
    for params in first:
        jax.tree.map(np.testing.assert_array_equal, without_logits(params), without_logits(PARAMS))
    for leaf, start in zip(*map(jax.tree.leaves, (last, PARAMS)), strict=True):
        assert np.all(leaf != start)
    plain = steps(OPTIMIZERS[name], 4)[0][-1]
    jax.tree.map(np.testing.assert_array_equal, last["head"]["logits"], plain["head"]["logits"])


def test_a_gradient_that_is_not_finite_does_not_reach_a_layer_that_waits():
    grads = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.inf), PARAMS)
    (params,), _ = steps(warm_up_head(OPTIMIZERS["sgd"], 1), 1, grads)
    jax.tree.map(np.testing.assert_array_equal, without_logits(params), without_logits(PARAMS))


def test_layer_rates_hold_after_the_warm_up():
    optimizer = warm_up_head(LayerRates.parse("backbone=0").apply_to(OPTIMIZERS["adamw"]), 1)
    last = steps(optimizer, 3)[0][-1]
    jax.tree.map(np.testing.assert_array_equal, last["backbone"], PARAMS["backbone"])
    assert np.all(last["head"]["hidden"] != PARAMS["head"]["hidden"])


def test_without_a_warm_up_the_optimizer_is_the_one_that_was_given():
    assert warm_up_head(OPTIMIZERS["sgd"], 0) is OPTIMIZERS["sgd"]


def test_a_network_without_the_classifier_is_refused():
    with pytest.raises(InputError, match=r"config.head_warmup: the network has no classifier; .* called head/logits"):
        check_head_warmup(1, {"Dense_0": {"kernel": jnp.zeros((2, 2))}}, num_steps=2)
    check_head_warmup(0, {}, num_steps=2)


@pytest.mark.parametrize("warmup", [4, 5])
def test_a_warm_up_that_takes_the_run_is_refused(warmup):
    with pytest.raises(InputError, match=rf"shorter than the run of 4 step\(s\), got {warmup}.*as in 'backbone=0'"):
        check_head_warmup(warmup, PARAMS, num_steps=4)
    check_head_warmup(3, PARAMS, num_steps=4)
