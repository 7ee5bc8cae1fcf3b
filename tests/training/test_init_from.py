import jax
import numpy as np
import pytest

from vjax.errors import InputError
from vjax.training.init_from import load_pretrained


def variables(num_classes=2, *, value=0.0, width=3):
    logits = {"kernel": np.full((width, num_classes), value), "bias": np.full(num_classes, value)}
    params = {"backbone": {"Conv_0": {"kernel": np.full((2, width), value)}}, "head": {"logits": logits}}
    return {"params": params, "batch_stats": {"backbone": {"BatchNorm_0": {"mean": np.full(width, value)}}}}


def test_all_variables_are_loaded_where_the_classes_are_the_same():
    loaded, reinitialised = load_pretrained(variables(value=0.0), variables(value=1.0), same_classes=True, where="a")
    assert reinitialised == ()
    jax.tree.map(np.testing.assert_array_equal, loaded, variables(value=1.0))


@pytest.mark.parametrize("num_classes", [2, 5])
def test_the_classifier_is_reinitialised_where_the_classes_differ(num_classes):
    loaded, reinitialised = load_pretrained(
        variables(num_classes), variables(2, value=1.0), same_classes=False, where="a"
    )
    assert set(reinitialised) == {"params/head/logits/kernel", "params/head/logits/bias"}
    np.testing.assert_array_equal(loaded["params"]["head"]["logits"]["bias"], np.zeros(num_classes))
    np.testing.assert_array_equal(loaded["params"]["backbone"]["Conv_0"]["kernel"], np.ones((2, 3)))
    np.testing.assert_array_equal(loaded["batch_stats"]["backbone"]["BatchNorm_0"]["mean"], np.ones(3))


def test_a_network_without_batch_norms_is_loaded_too():
    initial, pretrained = (variables(value=value) | {"batch_stats": {}} for value in (0.0, 1.0))
    loaded, _ = load_pretrained(initial, pretrained, same_classes=True, where="a")
    jax.tree.map(np.testing.assert_array_equal, loaded, pretrained)
    assert jax.tree.structure(loaded) == jax.tree.structure(initial)


def test_another_backbone_is_refused_by_name():
    message = (
        r"network of runs/a does not fit: batch_stats/backbone/BatchNorm_0/mean has shape \(4,\) in that run and "
        r"\(3,\) in this one"
    )
    with pytest.raises(InputError, match=message):
        load_pretrained(variables(), variables(width=4), same_classes=False, where="runs/a")


def test_a_part_that_only_one_network_has_is_refused_by_name():
    more = variables()
    more["params"]["hidden"] = {"bias": np.zeros(3)}
    with pytest.raises(InputError, match=r"params/hidden/bias has shape \(3,\) in that run and None in this"):
        load_pretrained(variables(), more, same_classes=False, where="a")
