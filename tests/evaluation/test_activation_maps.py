"""Where and when networks look, on clips in which it is known."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vjax import models
from vjax.errors import InputError
from vjax.evaluation.activation_maps import activation_maps, first_features
from vjax.models.fusion import SingleFrame
from vjax.ops.clip_input import ClipInput

SHAPE = (6, 16, 20, 3)
CLIPS = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype(np.uint8)


def init(network, shape=SHAPE):
    return network.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False)


def maps_of(network, clips=CLIPS, classes=(0, 1)):
    return activation_maps(network, init(network), clips, np.array(classes), clip_input=ClipInput())


@pytest.mark.parametrize("name", models.FUSION_NETWORKS)
def test_maps_have_the_size_of_the_clip_and_shares_that_add_up(name):
    found = maps_of(models.create(name, 3, backbone={"name": "small", "widths": (8, 8)}))
    assert found.places.shape == (2, 6, 16, 20)
    assert found.layers == ("backbone",)
    # Of random numbers, nothing may speak for a class.
    speaks = np.asarray(found.places.max((1, 2, 3))) > 0
    assert speaks.any()
    np.testing.assert_allclose(found.places.max((1, 2, 3))[speaks], 1, rtol=1e-5)
    np.testing.assert_allclose(found.frames.sum(1)[speaks], 1, rtol=1e-5)
    assert found.places.min() >= 0
    assert found.frames.min() >= 0


class Bright(nn.Module):
    """Features that are the brightness of the frame."""

    @nn.compact
    def __call__(self, x, *, train):
        self.param("unused", nn.initializers.ones, ())
        return x.mean(-1, keepdims=True)


def test_the_map_of_a_network_that_adds_up_brightness_is_where_and_when_it_is_bright():
    network = SingleFrame(2, Bright())
    variables = init(network)
    variables["params"]["head"]["logits"]["kernel"] = jnp.array([[1.0, -1.0]])
    clips = np.full((1, *SHAPE), 115, np.uint8)  # the mean of the normalization: features of about 0
    clips[:, 4, 3:6, 10:14] = 255
    found = activation_maps(network, variables, clips, np.array([0]), clip_input=ClipInput())
    assert found.places[0, 4, 3:6, 10:14].min() > 0.99
    assert found.places[0, :4].max() < 0.05
    assert found.frames[0].argmax() == 4
    assert found.frames[0, 4] > 0.5
    against = activation_maps(network, variables, clips, np.array([1]), clip_input=ClipInput())
    assert against.frames[0, 4] == 0, "brightness speaks against the other class"


def test_nothing_speaks_for_a_class_whose_logit_is_constant():
    network = SingleFrame(2, Bright())
    variables = init(network)
    variables["params"]["head"]["logits"]["kernel"] = jnp.zeros((1, 2))
    found = activation_maps(network, variables, CLIPS, np.array([0, 1]), clip_input=ClipInput())
    assert not found.places.any()
    assert not found.frames.any()


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("slowfast_r50", ("backbone/slow_stage4", "backbone/fast_stage4")),
        ("r2plus1d_18", ("backbone",)),
        ("c3d", ("conv5b",)),
        ("karpathy_late", ("frame",)),
    ],
)
def test_the_last_features_of_published_networks_are_used(name, layers):
    network = models.create(name, 5)
    clip_shape = {"slowfast_r50": (32, 256, 256, 3), "karpathy_late": (16, 170, 170, 3)}.get(name, (16, 112, 112, 3))
    clips = jax.ShapeDtypeStruct((1, *clip_shape), jnp.uint8)
    found = None

    def run(clips):
        nonlocal found
        variables = network.init(jax.random.key(0), clips.astype(jnp.float32), train=False)
        found = activation_maps(network, variables, clips, jnp.zeros(1, int), clip_input=ClipInput()).layers
        return clips

    jax.eval_shape(run, clips)
    assert found == layers


def test_a_network_without_features_is_refused():
    class Flat(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            return nn.Dense(2)(x.reshape(len(x), 1, -1))

    with pytest.raises(
        InputError, match=r"need a module that returns features \(b t h w d\) or \(b\*t h w d\); Flat has none"
    ):
        maps_of(Flat())


def test_a_network_of_images_has_maps_too():
    class Images(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            b, t, h, w, c = x.shape
            features = nn.relu(nn.Conv(8, (3, 3))(x.reshape(b * t, h, w, c)))
            return nn.Dense(2)(features.mean((1, 2))).reshape(b, t, 2)

    found = maps_of(Images())
    assert found.places.shape == (2, 6, 16, 20)
    assert found.places.max() == 1


def test_the_first_features_are_the_output_of_the_first_layer():
    network = models.create("slow_fusion", 3, backbone={"name": "small", "widths": (4, 4)})
    found = first_features(network, init(network), CLIPS[:1], clip_input=ClipInput())
    assert found.shape == (6, 16, 20, 4)
