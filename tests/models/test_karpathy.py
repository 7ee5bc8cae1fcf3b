"""The four networks of Karpathy et al. 2014. Their fully connected layers are narrow where numbers are computed."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from published_networks import UNOPTIMISED, assert_every_parameter_gets_a_finite_gradient_in_training, shapes_inside
from random_variables import random_variables

from vjax import models
from vjax.errors import InputError
from vjax.layers.response_norm import local_response_norm
from vjax.models.cost import count_parameters, multiply_adds
from vjax.models.karpathy import centre, half_size

# Frames of a clip; single frame takes any number.
NUM_FRAMES = {"karpathy_single": 3, "karpathy_early": 10, "karpathy_late": 16, "karpathy_slow": 10}
NUM_CLASSES = 5

each_network = pytest.mark.parametrize("name", NUM_FRAMES)
each_resolution = pytest.mark.parametrize("multiresolution", [False, True], ids=["one", "two"])


def clip_shape(name, *, multiresolution=False):
    return (NUM_FRAMES[name], *[178 if multiresolution else 170] * 2, 3)


def make_narrow(name, **options):
    return models.create(name, NUM_CLASSES, **options).clone(width=16)


@functools.cache
def narrow_with_variables(name):
    """Returns a network, random variables and its jitted evaluation."""
    network = make_narrow(name)
    return network, random_variables(network, clip_shape(name)), jax.jit(functools.partial(network.apply, train=False))


def make_clips(num_clips, shape, seed=0):
    return np.random.default_rng(seed).normal(size=(num_clips, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "parameters", "giga"),
    [
        ("karpathy_single", 73_908_071, 1.27),
        ("karpathy_early", 74_221_703, 2.29),
        ("karpathy_late", 125_288_295, 2.53),
        ("karpathy_slow", 75_511_751, 4.59),
    ],
)
def test_parameters_and_multiply_adds_at_487_classes_are_those_of_the_published_layers(name, parameters, giga):
    network = models.create(name, 487)
    # The multiply-adds of single frame are those of one frame.
    shape = (1 if name == "karpathy_single" else NUM_FRAMES[name], 170, 170, 3)
    assert count_parameters(shapes_inside(network, shape)[1]) == parameters
    assert round(multiply_adds(network, shape) / 1e9, 2) == giga


# Frames after each of the five convolutions.
FRAMES_LEFT = {
    "karpathy_single": (3, 3, 3, 3, 3),
    "karpathy_early": (1, 1, 1, 1, 1),
    "karpathy_late": (2, 2, 2, 2, 2),
    "karpathy_slow": (4, 2, 1, 1, 1),
}


@each_resolution
@each_network
def test_every_stage_has_the_published_shape(name, multiresolution):
    network = models.create(name, NUM_CLASSES, multiresolution=multiresolution)
    logits, params, outputs = shapes_inside(network, clip_shape(name, multiresolution=multiresolution))
    opinions = 3 if name == "karpathy_single" else 1
    assert logits.shape == outputs["head"].shape == (2, opinions, NUM_CLASSES)
    assert logits.dtype == jnp.float32
    streams = ("context", "fovea") if multiresolution else ("frame",)
    assert set(params) == {*streams, "fully_connected", "head"}
    sizes = (30, 15, 7, 7, 7) if multiresolution else (57, 28, 14, 14, 14)
    for stream in streams:
        for i, features in enumerate((96, 256, 384, 384, 256)):
            expected = (2, FRAMES_LEFT[name][i], sizes[i], sizes[i], features)
            assert outputs[f"{stream}/conv{i + 1}"].shape == expected
        assert outputs[stream].shape == (2, FRAMES_LEFT[name][-1], 7, 7, 256)
    joined = len(streams) * 7 * 7 * 256 * (2 if name == "karpathy_late" else 1)
    assert params["fully_connected"]["fc6"]["kernel"].shape == (joined, 4096)
    assert params["fully_connected"]["fc7"]["kernel"].shape == (4096, 4096)


@pytest.mark.parametrize(
    ("name", "extents"),
    [
        ("karpathy_single", (1, 1, 1, 1, 1)),
        ("karpathy_early", (10, 1, 1, 1, 1)),
        ("karpathy_late", (1, 1, 1, 1, 1)),
        ("karpathy_slow", (4, 2, 2, 1, 1)),
    ],
)
def test_filters_have_the_published_sizes_and_extents_in_time(name, extents):
    tower = shapes_inside(models.create(name, 487), clip_shape(name))[1]["frame"]
    filters = [(11, 11, 3, 96), (5, 5, 96, 256), (3, 3, 256, 384), (3, 3, 384, 384), (3, 3, 384, 256)]
    found = [tower[f"conv{i}"]["kernel"].shape for i in range(1, 6)]
    assert found == [(extent, *rest) for extent, rest in zip(extents, filters, strict=True)]


@each_resolution
@each_network
def test_in_half_precision_parameters_and_logits_stay_float32(name, multiresolution):
    network = models.create(name, NUM_CLASSES, multiresolution=multiresolution, dtype="bfloat16")
    logits, params, outputs = shapes_inside(network, clip_shape(name, multiresolution=multiresolution))
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    layers = [path for path in outputs if path.split("/")[-1].startswith(("conv", "fc"))]
    assert len(layers) == (12 if multiresolution else 7)
    assert {outputs[path].dtype for path in layers} == {jnp.dtype("bfloat16")}


def plainly(name, params, clips):
    """The network without multiresolution, from lax's own operations, in evaluation."""
    axes, tower, layers = ("NDHWC", "DHWIO", "NDHWC"), params["frame"], params["fully_connected"]

    def conv(x, layer, strides=(1, 1, 1)):
        pads = [(0, 0), *[(size // 2, size // 2) for size in tower[layer]["kernel"].shape[1:3]]]
        out = lax.conv_general_dilated(x, tower[layer]["kernel"], strides, pads, dimension_numbers=axes)
        return nn.relu(out + tower[layer]["bias"])

    def norm(x):
        return local_response_norm(x, k=2.0, n=5, alpha=1e-4, beta=0.5)

    def pool(x):
        return nn.max_pool(x, (1, 2, 2), (1, 2, 2))

    def dense(x, layer):
        return x @ layer["kernel"] + layer["bias"]

    # The late network sees two frames; the strides in time are those of slow fusion, and make no difference elsewhere.
    x = clips[:, [0, 15]] if name == "karpathy_late" else clips
    strides = (2, 1, 1) if name == "karpathy_slow" else (1, 1, 1)
    x = pool(norm(conv(x, "conv1", (strides[0], 3, 3))))
    x = pool(norm(conv(x, "conv2", strides)))
    x = pool(conv(conv(conv(x, "conv3", strides), "conv4"), "conv5"))
    x = x.reshape(len(x), x.shape[1] if name == "karpathy_single" else 1, -1)
    x = nn.relu(dense(nn.relu(dense(x, layers["fc6"])), layers["fc7"]))
    return dense(x, params["head"]["logits"])


@each_network
def test_logits_are_those_of_laxs_own_operations(name):
    _, variables, evaluate = narrow_with_variables(name)
    clips = make_clips(1, clip_shape(name))
    expected = jax.jit(functools.partial(plainly, name))(variables["params"], clips)
    np.testing.assert_allclose(evaluate(variables, clips), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_logits_are_the_same_with_and_without_jit():
    network, variables, evaluate = narrow_with_variables("karpathy_single")
    clips = make_clips(1, clip_shape("karpathy_single"))
    np.testing.assert_allclose(
        network.apply(variables, clips, train=False), evaluate(variables, clips), rtol=1e-4, atol=1e-5
    )


def frames_seen(name):
    """Returns an array (t v): whether a change of the frame changes the opinion."""
    _, variables, evaluate = narrow_with_variables(name)
    clips = make_clips(1, clip_shape(name))
    before = np.asarray(evaluate(variables, clips)[0])
    seen = []
    for frame in range(NUM_FRAMES[name]):
        touched = clips.copy()
        touched[:, frame] += 1
        seen.append(np.abs(evaluate(variables, touched)[0] - before).max(axis=-1) > 1e-4)
    return np.array(seen)


def test_late_fusion_sees_the_first_and_the_sixteenth_frame_and_no_other():
    assert frames_seen("karpathy_late")[:, 0].tolist() == [True, *[False] * 14, True]


@pytest.mark.parametrize("name", ["karpathy_early", "karpathy_slow"])
def test_early_and_slow_fusion_see_all_ten_frames(name):
    assert frames_seen(name).all()


def test_an_opinion_of_the_single_frame_network_depends_on_its_own_frame_alone():
    np.testing.assert_array_equal(frames_seen("karpathy_single"), np.eye(3, dtype=bool))


@pytest.mark.parametrize("name", ["karpathy_early", "karpathy_late", "karpathy_slow"])
def test_networks_that_fuse_time_know_the_order_of_frames(name):
    _, variables, evaluate = narrow_with_variables(name)
    clips = make_clips(1, clip_shape(name))
    assert np.abs(evaluate(variables, clips) - evaluate(variables, clips[:, ::-1])).max() > 1e-3


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("karpathy_single", marks=pytest.mark.slow),
        pytest.param("karpathy_early", marks=pytest.mark.slow),
        "karpathy_late",
        "karpathy_slow",
    ],
)
def test_every_parameter_gets_a_finite_gradient_in_training(name):
    network, variables, _ = narrow_with_variables(name)
    clips = make_clips(1, clip_shape(name))
    assert_every_parameter_gets_a_finite_gradient_in_training(network, variables, clips)


def pixels_seen(stream):
    """Returns the rows and the columns of a frame that reach the logits through one stream."""
    network = make_narrow("karpathy_single", multiresolution=True)
    variables = random_variables(network, (1, 178, 178, 3))
    (other,) = {"context", "fovea"} - {stream}
    params = {**variables["params"], other: jax.tree.map(np.zeros_like, variables["params"][other])}

    @functools.partial(jax.jit, compiler_options=UNOPTIMISED)
    def to_pixels(params, clips):
        return jax.grad(lambda clips: network.apply({"params": params}, clips, train=False)[..., 0].sum())(clips)

    grad = np.abs(to_pixels(params, make_clips(1, (1, 178, 178, 3)))).max(axis=(0, 1, 4))
    return [np.flatnonzero(grad.max(axis=axis)).tolist() for axis in (1, 0)]


def test_the_fovea_sees_the_centre_alone():
    assert pixels_seen("fovea") == [[*range(44, 133)]] * 2


def test_the_context_sees_the_whole_frame():
    assert pixels_seen("context") == [[*range(178)]] * 2


def test_the_streams_are_half_the_frame_in_size_and_the_whole_of_it_and_its_centre():
    frames = make_clips(2, (3, 178, 178, 3))
    context, fovea = half_size(frames), centre(frames)
    assert context.shape == fovea.shape == (2, 3, 89, 89, 3)
    np.testing.assert_allclose(context[1, 2, 88, 0], frames[1, 2, 176:178, :2].mean((0, 1)), rtol=1e-5)
    np.testing.assert_array_equal(fovea, frames[:, :, 44:133, 44:133])


@pytest.mark.parametrize(
    ("name", "options", "shape", "message"),
    [
        (
            "karpathy_single",
            {},
            (4, 112, 112, 3),
            r"karpathy_single takes clips with any number of frames of 170 x 170, because its fully connected layers "
            r"are made for them; got 4 frame\(s\) of 112 x 112; set config.clip.num_frames and config.clip.size",
        ),
        ("karpathy_single", {"multiresolution": True}, (1, 170, 170, 3), "with multiresolution takes .* of 178 x 178"),
        ("karpathy_early", {}, (16, 170, 170, 3), r"takes clips with 10 frames of 170 x 170.*; got 16 frame\(s\)"),
        ("karpathy_late", {}, (10, 170, 170, 3), r"takes clips with 16 frames of 170 x 170.*; got 10 frame\(s\)"),
        (
            "karpathy_slow",
            {},
            (10, 170, 178, 3),
            r"takes clips with 10 frames of 170 x 170.* of 170 x 178; set config.clip",
        ),
        ("karpathy_slow", {}, (170, 170, 3), r"a network takes clips \(b t h w c\), rank 5; got shape"),
    ],
)
def test_clips_of_another_length_or_size_are_refused_with_what_is_allowed(name, options, shape, message):
    network = models.create(name, NUM_CLASSES, **options)
    with pytest.raises(InputError, match=message):
        network.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False)


@pytest.mark.slow
@each_network
def test_the_network_as_published_starts_with_logits_of_ordinary_size(name):
    network = models.create(name, 487, dtype="bfloat16")
    variables = jax.jit(functools.partial(network.init, train=False))(
        jax.random.key(0, impl="rbg"), jnp.zeros((1, *clip_shape(name)))
    )
    logits = np.asarray(
        jax.jit(functools.partial(network.apply, train=False))(variables, make_clips(1, clip_shape(name)))
    )
    assert np.isfinite(logits).all()
    assert 0.05 < logits.std() < 10
