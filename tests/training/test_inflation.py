import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_variables import random_variables

from vjax import models
from vjax.spec import Choice
from vjax.training.inflation import inflate, is_inflatable
from vjax.training.init_from import load_pretrained

# Narrow backbones with shapes and depths of their own; the number of frames that are further than a border can be seen.
BACKBONES = {
    "small": (Choice("small", widths=(4, 6)), 32),
    "resnet18": (Choice("resnet18", widths=(4, 4, 6, 6)), 128),
}


def features(network, variables, clips):
    """Returns the backbone's features, and what the head makes of the mean of some."""
    backbone = network.backbone.clone(parent=None)
    of_backbone = {kind: tree.get("backbone", {}) for kind, tree in variables.items()}
    return backbone.apply(of_backbone, clips, train=False)


@pytest.mark.parametrize("name", BACKBONES)
def test_an_inflated_network_gives_the_2d_features_for_a_video_of_one_frame_away_from_its_ends(name):
    backbone, num_frames = BACKBONES[name]
    flat, deep = (models.create(kind, 3, backbone=backbone) for kind in ("single_frame", "slow_fusion"))
    frame = np.random.default_rng(0).normal(size=(1, 1, 16, 16, 3)).astype(np.float32)
    video = np.repeat(frame, num_frames, axis=1)
    pretrained = random_variables(flat, frame.shape[1:])
    shapes = jax.eval_shape(lambda x: deep.init(jax.random.key(0), x, train=False), jnp.asarray(video))
    loaded = load_pretrained(shapes, pretrained, same_classes=True, where="a")
    assert loaded.inflated
    assert not loaded.reinitialised
    expected, found = features(flat, pretrained, frame), features(deep, loaded.variables, video)
    middle = found[:, found.shape[1] // 2]
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(middle, expected[:, 0], atol=1e-4 * np.abs(expected).max())
    # The head is the same, so that equal features have equal logits.
    jax.tree.map(np.testing.assert_array_equal, loaded.variables["params"]["head"], pretrained["params"]["head"])
    # At the ends, taps see the zeros beyond the video.
    assert np.abs(found[:, 0] - expected[:, 0]).max() > 1e-3 * np.abs(expected).max()


def test_the_taps_of_an_inflated_kernel_sum_to_the_flat_one():
    kernel = np.random.default_rng(0).normal(size=(1, 3, 3, 4, 5)).astype(np.float32)
    inflated = inflate(kernel, num_taps=3)
    assert inflated.shape == (3, 3, 3, 4, 5)
    np.testing.assert_allclose(inflated.sum(0, keepdims=True), kernel, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "there", "here"),
    [
        ("params/Conv_0/kernel", (1, 3, 3, 8, 16), (3, 3, 3, 8, 12)),
        ("params/Conv_0/kernel", (3, 3, 3, 8, 16), (5, 3, 3, 8, 16)),
        ("params/Dense_0/kernel", (1, 16), (3, 16)),
        ("params/Norm_0/scale", (1, 3, 3, 8, 16), (3, 3, 3, 8, 16)),
    ],
)
def test_only_kernels_of_depth_1_are_inflated(name, there, here):
    assert not is_inflatable(name, there, here)
