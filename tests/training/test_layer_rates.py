import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vjax.errors import InputError
from vjax.training.layer_rates import LayerRates
from vjax.training.optim import create_optimizer

PARAMS = {
    "backbone": {"Conv_0": {"kernel": jnp.full((2, 3), 1.0)}, "Conv_01": {"kernel": jnp.full((2, 3), 2.0)}},
    "head": {"logits": {"kernel": jnp.full((3, 2), 3.0), "bias": jnp.full(2, 4.0)}},
}


def test_the_longest_name_that_a_path_begins_with_counts():
    rates = LayerRates.parse("backbone=0.5, backbone/Conv_0=0 ,head/logits/bias=2e-1")
    rates.check(PARAMS)
    assert rates.of(PARAMS) == {
        "backbone": {"Conv_0": {"kernel": 0.0}, "Conv_01": {"kernel": 0.5}},
        "head": {"logits": {"kernel": 1.0, "bias": 0.2}},
    }


def test_no_text_leaves_every_rate_alone():
    assert set(jax.tree.leaves(LayerRates.parse(" ").of(PARAMS))) == {1.0}


@pytest.mark.parametrize(
    "text", ["backbone", "backbone=", "=1", "backbone=-1", "backbone=nan", "backbone=inf", "a=1,", "backbone=1=2"]
)
def test_a_text_that_is_none_is_refused(text):
    with pytest.raises(InputError, match=r"config.layer_rates is a text such as 'backbone=0.1,.*is not understood"):
        LayerRates.parse(text)


def test_a_name_that_fits_no_layer_is_refused_with_the_layers_there_are():
    message = r"no parameters in 'backbone/Conv'. Its layers: backbone/Conv_0, backbone/Conv_01, head/logits$"
    with pytest.raises(InputError, match=message):
        LayerRates.parse("backbone/Conv=0.1").check(PARAMS)


@pytest.mark.parametrize("text", ["backbone=0,head=0", "head=0,backbone=0,backbone/Conv_0=0"])
def test_a_network_with_all_layers_frozen_is_refused(text):
    with pytest.raises(InputError, match=r"all layers of the network have the factor 0, so nothing would learn; leave"):
        LayerRates.parse(text).check(PARAMS)
    LayerRates.parse("backbone=0").check(PARAMS)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_updates_are_scaled_by_layer_weight_decay_included(name):
    config = {"name": name, "learning_rate": 0.1, "weight_decay": 0.5, "clip_norm": 0.0}
    moved = {}
    for text in ("", "backbone=0.25,backbone/Conv_0=0"):
        optimizer, _ = create_optimizer(config, num_steps=10, layer_rates=LayerRates.parse(text))
        updates, _ = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
        after = optax.apply_updates(PARAMS, updates)
        moved[text] = jax.tree.map(jnp.subtract, after, PARAMS)
    plain, scaled = moved.values()
    np.testing.assert_array_equal(scaled["backbone"]["Conv_0"]["kernel"], 0)
    np.testing.assert_allclose(
        scaled["backbone"]["Conv_01"]["kernel"], 0.25 * plain["backbone"]["Conv_01"]["kernel"], rtol=1e-5
    )
    jax.tree.map(np.testing.assert_array_equal, scaled["head"], plain["head"])
    assert np.all(plain["backbone"]["Conv_0"]["kernel"] < 0)


@pytest.mark.parametrize(("name", "per_parameter"), [("sgd", 1), ("adamw", 2)])
def test_frozen_parameters_have_no_state_in_the_optimizer(name, per_parameter):
    optimizer, _ = create_optimizer(
        {"name": name, "learning_rate": 0.1}, num_steps=10, layer_rates=LayerRates.parse("backbone=0")
    )
    numbers = [leaf.size for leaf in jax.tree.leaves(optimizer.init(PARAMS)) if leaf.ndim > 0]
    assert sum(numbers) == per_parameter * sum(leaf.size for leaf in jax.tree.leaves(PARAMS["head"]))
