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
    loaded = load_pretrained(variables(value=0.0), variables(value=1.0), same_classes=True, where="a")
    assert (loaded.reinitialised, loaded.inflated, loaded.unused) == ((), (), ())
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables(value=1.0))


@pytest.mark.parametrize("num_classes", [2, 5])
def test_the_classifier_is_reinitialised_where_the_classes_differ(num_classes):
    loaded = load_pretrained(variables(num_classes), variables(2, value=1.0), same_classes=False, where="a")
    assert set(loaded.reinitialised) == {"params/head/logits/kernel", "params/head/logits/bias"}
    params, statistics = loaded.variables["params"], loaded.variables["batch_stats"]
    np.testing.assert_array_equal(params["head"]["logits"]["bias"], np.zeros(num_classes))
    np.testing.assert_array_equal(params["backbone"]["Conv_0"]["kernel"], np.ones((2, 3)))
    np.testing.assert_array_equal(statistics["backbone"]["BatchNorm_0"]["mean"], np.ones(3))


def test_a_network_without_batch_norms_is_loaded_too():
    initial, pretrained = (variables(value=value) | {"batch_stats": {}} for value in (0.0, 1.0))
    loaded = load_pretrained(initial, pretrained, same_classes=True, where="a").variables
    jax.tree.map(np.testing.assert_array_equal, loaded, pretrained)
    assert jax.tree.structure(loaded) == jax.tree.structure(initial)


def test_another_backbone_is_refused_by_name():
    message = (
        r"the network of runs/a does not fit this network: batch_stats/backbone/BatchNorm_0/mean \(4,\) there, "
        r"batch_stats/backbone/BatchNorm_0/mean \(3,\) here"
    )
    with pytest.raises(InputError, match=message):
        load_pretrained(variables(), variables(width=4), same_classes=False, where="the network of runs/a")


def test_a_network_with_no_part_in_common_is_refused():
    other = {"params": {"trunk": {"bias": np.zeros(3)}}, "batch_stats": {}}
    with pytest.raises(InputError, match="a does not fit this network: trunk there, backbone, head here"):
        load_pretrained(variables(), other, same_classes=True, where="a")


def test_a_part_that_only_one_network_has_and_the_classifier_behind_it_are_not_loaded():
    more = variables(value=1.0)
    more["params"]["hidden"] = {"bias": np.zeros(3)}
    not_loaded = ("params/head/logits/bias", "params/head/logits/kernel", "params/hidden/bias")
    assert load_pretrained(variables(), more, same_classes=True, where="a").unused == not_loaded
    loaded = load_pretrained(more, variables(), same_classes=True, where="a")
    assert loaded.reinitialised == not_loaded
    np.testing.assert_array_equal(loaded.variables["params"]["head"]["logits"]["bias"], np.ones(2))
    np.testing.assert_array_equal(loaded.variables["params"]["backbone"]["Conv_0"]["kernel"], np.zeros((2, 3)))


def test_a_backbone_with_more_layers_is_refused_in_both_directions():
    deeper = variables()
    deeper["params"]["backbone"]["Conv_1"] = {"kernel": np.zeros((3, 3))}
    for initial, pretrained in ((variables(), deeper), (deeper, variables())):
        with pytest.raises(InputError, match="params/backbone/Conv_1/kernel"):
            load_pretrained(initial, pretrained, same_classes=True, where="a")


def test_the_classifier_starts_afresh_behind_other_features():
    narrow, wide = variables(width=3), variables(width=3, value=1.0)
    narrow["params"]["head"]["logits"]["kernel"] = np.zeros((8, 2))
    loaded = load_pretrained(narrow, wide, same_classes=True, where="a")
    assert set(loaded.reinitialised) == {"params/head/logits/kernel", "params/head/logits/bias"}
