import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vjax.errors import InputError
from vjax.models.fully_connected import FullyConnected, check_clips


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make_with_params(dropout=0.5, dtype=jnp.float32):
    layers = FullyConnected(dropout=dropout, width=64, dtype=dtype)
    return layers, layers.init(jax.random.key(0), draw(2, 1, 32), train=False)


def test_in_evaluation_they_are_two_layers_with_a_relu():
    layers, variables = make_with_params()
    features, params = draw(4, 2, 32), variables["params"]
    expected = features
    for layer in ("fc6", "fc7"):
        expected = np.maximum(expected @ np.asarray(params[layer]["kernel"]) + params[layer]["bias"], 0)
    np.testing.assert_allclose(layers.apply(variables, features, train=False), expected, rtol=1e-4, atol=1e-5)


def test_training_drops_half_of_the_first_layer_and_doubles_what_it_keeps():
    layers, variables = make_with_params()
    features = draw(4, 2, 32)
    _, changed = layers.apply(
        variables, features, train=True, rngs={"dropout": jax.random.key(1)}, capture_intermediates=True
    )
    outputs = changed["intermediates"]
    before = np.maximum(outputs["fc6"]["__call__"][0], 0)
    after = np.asarray(outputs["Dropout_0"]["__call__"][0])
    kept = after > 0
    np.testing.assert_allclose(after[kept], 2 * before[kept], rtol=1e-6)
    assert 0.4 < kept.sum() / (before > 0).sum() < 0.6


def test_without_dropout_training_is_evaluation():
    layers, variables = make_with_params(dropout=0.0)
    train, evaluate = (
        functools.partial(layers.apply, variables, draw(4, 2, 32), train=train) for train in (True, False)
    )
    np.testing.assert_array_equal(train(), evaluate())


def test_the_layers_keep_the_size_of_their_input_at_the_start():
    layers = FullyConnected(dropout=0.5, width=512)
    variables = layers.init(jax.random.key(0), draw(1, 1, 512), train=False)
    _, changed = layers.apply(variables, draw(64, 1, 512), train=False, capture_intermediates=True)
    sizes = [np.asarray(changed["intermediates"][layer]["__call__"][0]).std() for layer in ("fc6", "fc7")]
    np.testing.assert_allclose(sizes, np.sqrt(2), rtol=0.1)


def test_in_half_precision_parameters_stay_float32():
    layers, variables = make_with_params(dtype=jnp.bfloat16)
    assert layers.apply(variables, draw(2, 1, 32), train=False).dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("num_frames", "shape"), [(16, (2, 16, 8, 8, 3)), (None, (2, 1, 8, 8, 3)), (None, (2, 99, 8, 8, 1))]
)
def test_clips_of_the_one_shape_pass(num_frames, shape):
    check_clips(jnp.zeros(shape), num_frames=num_frames, size=8, what="mine")


@pytest.mark.parametrize(
    ("num_frames", "shape", "message"),
    [
        (
            16,
            (2, 15, 8, 8, 3),
            r"mine takes clips with 16 frames of 8 x 8, .*; got 15 frame\(s\) of 8 x 8; set config.clip.num_frames",
        ),
        (16, (2, 16, 8, 9, 3), r"mine takes clips with 16 frames of 8 x 8, .*; got 16 frame\(s\) of 8 x 9"),
        (None, (2, 3, 9, 8, 3), r"mine takes clips with any number of frames of 8 x 8, .*; got 3 frame\(s\) of 9 x 8"),
        (16, (16, 8, 8, 3), r"takes clips \(b t h w c\), rank 5; got shape \(16, 8, 8, 3\)"),
    ],
)
def test_other_clips_are_refused_with_their_shape_and_the_allowed_one(num_frames, shape, message):
    with pytest.raises(InputError, match=message):
        check_clips(jnp.zeros(shape), num_frames=num_frames, size=8, what="mine")
