import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vjax.errors import InputError
from vjax.training.optim import create_optimizer
from vjax.training.transfer import LayerRates, take_over

PARAMS = {
    "trunk": {"Conv_0": {"kernel": jnp.full((2, 3), 1.0)}, "Conv_01": {"kernel": jnp.full((2, 3), 2.0)}},
    "head": {"logits": {"kernel": jnp.full((3, 2), 3.0), "bias": jnp.full(2, 4.0)}},
}


def variables(num_classes=2, *, value=0.0, width=3):
    logits = {"kernel": np.full((width, num_classes), value), "bias": np.full(num_classes, value)}
    params = {"trunk": {"Conv_0": {"kernel": np.full((2, width), value)}}, "head": {"logits": logits}}
    return {"params": params, "batch_stats": {"trunk": {"BatchNorm_0": {"mean": np.full(width, value)}}}}


def test_all_is_taken_over_where_the_classes_are_the_same():
    taken, stay = take_over(variables(value=0.0), variables(value=1.0), same_classes=True, where="a")
    assert stay == ()
    jax.tree.map(np.testing.assert_array_equal, taken, variables(value=1.0))


@pytest.mark.parametrize("num_classes", [2, 5])
def test_the_classifier_stays_fresh_where_the_classes_differ(num_classes):
    taken, stay = take_over(variables(num_classes), variables(2, value=1.0), same_classes=False, where="a")
    assert set(stay) == {"params/head/logits/kernel", "params/head/logits/bias"}
    np.testing.assert_array_equal(taken["params"]["head"]["logits"]["bias"], np.zeros(num_classes))
    np.testing.assert_array_equal(taken["params"]["trunk"]["Conv_0"]["kernel"], np.ones((2, 3)))
    np.testing.assert_array_equal(taken["batch_stats"]["trunk"]["BatchNorm_0"]["mean"], np.ones(3))


def test_a_network_without_batch_norms_is_taken_over_too():
    fresh, trained = (variables(value=value) | {"batch_stats": {}} for value in (0.0, 1.0))
    taken, _ = take_over(fresh, trained, same_classes=True, where="a")
    jax.tree.map(np.testing.assert_array_equal, taken, trained)
    assert jax.tree.structure(taken) == jax.tree.structure(fresh)


def test_another_trunk_is_refused_by_name():
    message = (
        r"network of runs/a does not fit: batch_stats/trunk/BatchNorm_0/mean has shape \(4,\) there and \(3,\) here"
    )
    with pytest.raises(InputError, match=message):
        take_over(variables(), variables(width=4), same_classes=False, where="runs/a")


def test_a_part_that_only_one_network_has_is_refused_by_name():
    more = variables()
    more["params"]["hidden"] = {"bias": np.zeros(3)}
    with pytest.raises(InputError, match=r"params/hidden/bias has shape \(3,\) there and None here"):
        take_over(variables(), more, same_classes=False, where="a")


def test_the_longest_name_that_a_path_begins_with_counts():
    rates = LayerRates.parse("trunk=0.5, trunk/Conv_0=0 ,head/logits/bias=2e-1")
    rates.check(PARAMS)
    assert rates.of(PARAMS) == {
        "trunk": {"Conv_0": {"kernel": 0.0}, "Conv_01": {"kernel": 0.5}},
        "head": {"logits": {"kernel": 1.0, "bias": 0.2}},
    }


def test_no_text_leaves_every_rate_alone():
    assert set(jax.tree.leaves(LayerRates.parse(" ").of(PARAMS))) == {1.0}


@pytest.mark.parametrize("text", ["trunk", "trunk=", "=1", "trunk=-1", "trunk=nan", "trunk=inf", "a=1,", "trunk=1=2"])
def test_a_text_that_is_none_is_refused(text):
    with pytest.raises(InputError, match=r"config.layer_rates is a text such as 'trunk=0.1,.*is not understood"):
        LayerRates.parse(text)


def test_a_name_that_fits_no_layer_is_refused_with_the_layers_there_are():
    message = r"no parameters in 'trunk/Conv'. Its layers: head/logits, trunk/Conv_0, trunk/Conv_01$"
    with pytest.raises(InputError, match=message):
        LayerRates.parse("trunk/Conv=0.1").check(PARAMS)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_updates_are_scaled_by_layer_weight_decay_included(name):
    config = {"name": name, "learning_rate": 0.1, "weight_decay": 0.5, "clip_norm": 0.0}
    moved = {}
    for text in ("", "trunk=0.25,trunk/Conv_0=0"):
        optimizer, _ = create_optimizer(config, num_steps=10, layer_rates=LayerRates.parse(text))
        updates, _ = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
        after = optax.apply_updates(PARAMS, updates)
        moved[text] = jax.tree.map(jnp.subtract, after, PARAMS)
    plain, scaled = moved.values()
    np.testing.assert_array_equal(scaled["trunk"]["Conv_0"]["kernel"], 0)
    np.testing.assert_allclose(
        scaled["trunk"]["Conv_01"]["kernel"], 0.25 * plain["trunk"]["Conv_01"]["kernel"], rtol=1e-5
    )
    jax.tree.map(np.testing.assert_array_equal, scaled["head"], plain["head"])
    assert np.all(plain["trunk"]["Conv_0"]["kernel"] < 0)


@pytest.mark.parametrize(("name", "per_parameter"), [("sgd", 1), ("adamw", 2)])
def test_frozen_parameters_have_no_state_in_the_optimizer(name, per_parameter):
    optimizer, _ = create_optimizer(
        {"name": name, "learning_rate": 0.1}, num_steps=10, layer_rates=LayerRates.parse("trunk=0")
    )
    numbers = [leaf.size for leaf in jax.tree.leaves(optimizer.init(PARAMS)) if leaf.ndim > 0]
    assert sum(numbers) == per_parameter * sum(leaf.size for leaf in jax.tree.leaves(PARAMS["head"]))
