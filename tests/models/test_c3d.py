"""C3D. It is narrow where numbers are computed."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from published_networks import assert_every_parameter_gets_a_finite_gradient_in_training, shapes_inside
from random_variables import random_variables

from vjax import models
from vjax.errors import InputError
from vjax.models.cost import count_parameters, multiply_adds

CLIP_SHAPE = (16, 112, 112, 3)
each_padding = pytest.mark.parametrize("padding", ["after", "both", "none"])


@functools.cache
def narrow_with_variables(padding):
    """Returns a network, random variables and its jitted evaluation."""
    network = models.create("c3d", 5, pool5_padding=padding).clone(widths=(4, 4, 6, 6, 8), width=16)
    return network, random_variables(network, CLIP_SHAPE), jax.jit(functools.partial(network.apply, train=False))


def make_clips(num_clips, seed=0):
    return np.random.default_rng(seed).normal(size=(num_clips, *CLIP_SHAPE)).astype(np.float32)


@pytest.mark.parametrize(
    ("num_classes", "padding", "parameters", "mega"),
    [(101, "after", 78_409_573, 78.41), (101, "both", 78_409_573, 78.41), (400, "none", 64_954_512, 64.95)],
)
def test_parameters_and_multiply_adds_are_those_published(num_classes, padding, parameters, mega):
    network = models.create("c3d", num_classes, pool5_padding=padding)
    assert count_parameters(shapes_inside(network, CLIP_SHAPE)[1]) == parameters
    assert round(parameters / 1e6, 2) == mega
    assert round(multiply_adds(network, CLIP_SHAPE) / 1e9, 1) == 38.5


@each_padding
def test_every_stage_has_the_published_shape(padding):
    logits, params, outputs = shapes_inside(models.create("c3d", 101, pool5_padding=padding), CLIP_SHAPE)
    assert logits.shape == (2, 1, 101)
    expected = {
        "conv1a": (16, 112, 112, 64),
        "conv2a": (16, 56, 56, 128),
        "conv3a": (8, 28, 28, 256),
        "conv3b": (8, 28, 28, 256),
        "conv4a": (4, 14, 14, 512),
        "conv4b": (4, 14, 14, 512),
        "conv5a": (2, 7, 7, 512),
        "conv5b": (2, 7, 7, 512),
    }
    assert {path: leaf.shape[1:] for path, leaf in outputs.items() if path.startswith("conv")} == expected
    assert {params[layer]["kernel"].shape[:3] for layer in expected} == {(3, 3, 3)}
    side = 3 if padding == "none" else 4
    assert params["fully_connected"]["fc6"]["kernel"].shape == (512 * 1 * side * side, 4096)
    assert params["fully_connected"]["fc7"]["kernel"].shape == (4096, 4096)


def plainly(params, clips, *, padding):
    """The network from lax's own operations, in evaluation, with the last pool of Caffe, PyTorch or VMZ."""

    def conv(x, layer):
        out = lax.conv_general_dilated(
            x, params[layer]["kernel"], (1, 1, 1), [(1, 1)] * 3, dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
        )
        return nn.relu(out + params[layer]["bias"])

    def pool(x, window, pads=((0, 0), (0, 0), (0, 0))):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *window, 1), ((0, 0), *pads, (0, 0)))

    def dense(x, layer):
        return x @ layer["kernel"] + layer["bias"]

    x = pool(conv(clips, "conv1a"), (1, 2, 2))
    x = pool(conv(x, "conv2a"), (2, 2, 2))
    x = pool(conv(conv(x, "conv3a"), "conv3b"), (2, 2, 2))
    x = pool(conv(conv(x, "conv4a"), "conv4b"), (2, 2, 2))
    around = {"after": (0, 1), "both": (1, 1), "none": (0, 0)}[padding]
    x = pool(conv(conv(x, "conv5a"), "conv5b"), (2, 2, 2), ((0, 0), around, around)).reshape(len(clips), 1, -1)
    layers = params["fully_connected"]
    x = nn.relu(dense(nn.relu(dense(x, layers["fc6"])), layers["fc7"]))
    return dense(x, params["head"]["logits"])


@each_padding
def test_logits_are_those_of_laxs_own_operations(padding):
    _, variables, evaluate = narrow_with_variables(padding)
    clips = make_clips(1)
    expected = jax.jit(functools.partial(plainly, padding=padding))(variables["params"], clips)
    found = evaluate(variables, clips)
    assert found.shape == (1, 1, 5)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_every_frame_of_a_clip_and_their_order_change_the_logits():
    _, variables, evaluate = narrow_with_variables("after")
    clips = make_clips(1)
    before = evaluate(variables, clips)
    assert np.abs(evaluate(variables, clips[:, ::-1]) - before).max() > 1e-4
    for frame in range(16):
        touched = clips.copy()
        touched[:, frame] += 1
        assert np.abs(evaluate(variables, touched) - before).max() > 1e-4, frame


def test_every_parameter_gets_a_finite_gradient_in_training():
    network, variables, _ = narrow_with_variables("after")
    clips = make_clips(1)
    assert_every_parameter_gets_a_finite_gradient_in_training(network, variables, clips)


@pytest.mark.slow
def test_logits_are_the_same_with_and_without_jit():
    network, variables, evaluate = narrow_with_variables("after")
    clips = make_clips(2)
    plain = network.apply(variables, clips, train=False)
    np.testing.assert_allclose(plain, evaluate(variables, clips), rtol=1e-4, atol=1e-5)


def test_in_half_precision_parameters_and_logits_stay_float32():
    logits, params, outputs = shapes_inside(models.create("c3d", 101, dtype="bfloat16"), CLIP_SHAPE)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    layers = [path for path in outputs if path.split("/")[-1].startswith(("conv", "fc"))]
    assert len(layers) == 10
    assert {outputs[path].dtype for path in layers} == {jnp.dtype("bfloat16")}


def test_an_unknown_padding_is_refused_with_the_allowed_ones():
    with pytest.raises(InputError, match=r"network\.pool5_padding does not know 'before'.* Allowed: after, both, none"):
        models.create("c3d", 5, pool5_padding="before")


@pytest.mark.parametrize("shape", [(8, 112, 112, 3), (16, 128, 112, 3), (16, 112, 171, 3)])
def test_clips_of_another_length_or_size_are_refused_with_what_is_allowed(shape):
    given = rf"got {shape[0]} frame\(s\) of {shape[1]} x {shape[2]}; set config.clip.num_frames and config.clip.size"
    with pytest.raises(InputError, match=rf"c3d takes clips with 16 frames of 112 x 112, because .*; {given}"):
        models.create("c3d", 5).init(jax.random.key(0), jnp.zeros((1, *shape)), train=False)


@pytest.mark.slow
def test_the_network_as_published_starts_with_logits_of_ordinary_size():
    network = models.create("c3d", 101)
    variables = jax.jit(functools.partial(network.init, train=False))(
        jax.random.key(0, impl="rbg"), jnp.zeros((1, *CLIP_SHAPE))
    )
    logits = np.asarray(jax.jit(functools.partial(network.apply, train=False))(variables, make_clips(1)))
    assert np.isfinite(logits).all()
    assert 0.05 < logits.std() < 10
