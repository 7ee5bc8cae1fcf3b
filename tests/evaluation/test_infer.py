import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vjax import models
from vjax.evaluation.infer import ClipProbs, clip_probs, cross_entropy, infer, infer_views
from vjax.ops.clip_input import ClipInput, Normalization


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**16), num_opinions=st.integers(1, 5), num_classes=st.integers(2, 6))
def test_an_answer_is_the_mean_of_softmax_not_the_softmax_of_the_mean(seed, num_opinions, num_classes):
    logits = 3 * jax.random.normal(jax.random.key(seed), (2, num_opinions, num_classes))
    probs = clip_probs(logits).probs
    by_hand = np.mean([np.exp(v) / np.exp(v).sum(-1, keepdims=True) for v in np.asarray(logits).swapaxes(0, 1)], axis=0)
    np.testing.assert_allclose(probs, by_hand, rtol=1e-4)
    np.testing.assert_allclose(probs.sum(-1), 1, rtol=1e-5)


def test_the_loss_is_the_mean_cross_entropy_over_logits():
    logits = jnp.log(jnp.array([[[0.5, 0.5], [0.25, 0.75]]]))
    loss = cross_entropy(logits, jax.nn.one_hot(jnp.array([1]), 2), label_smoothing=0.0)
    np.testing.assert_allclose(loss, [-(np.log(0.5) + np.log(0.75)) / 2], rtol=1e-6)


def test_the_answers_log_probs_give_the_training_loss():
    logits = jax.random.normal(jax.random.key(0), (4, 3, 5))
    label = jnp.array([0, 1, 2, 4])
    of_label = clip_probs(logits).log_probs[jnp.arange(4), label]
    np.testing.assert_allclose(
        -of_label, cross_entropy(logits, jax.nn.one_hot(label, 5), label_smoothing=0.0), rtol=1e-5
    )


def test_label_smoothing_spreads_a_share_of_the_target_over_all_classes():
    logits = jax.random.normal(jax.random.key(0), (1, 1, 4))
    target = jax.nn.one_hot(jnp.array([2]), 4)
    smooth = cross_entropy(logits, target, label_smoothing=0.2)
    sharp = cross_entropy(logits, target, label_smoothing=0.0)
    uniform = -jax.nn.log_softmax(logits).mean()
    np.testing.assert_allclose(smooth, 0.8 * sharp + 0.2 * uniform, rtol=1e-5)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**16), share=st.floats(0, 1), label_smoothing=st.sampled_from([0.0, 0.1]))
def test_the_loss_is_linear_in_the_target(seed, share, label_smoothing):
    logits = jax.random.normal(jax.random.key(seed), (3, 2, 4))
    one, other = jax.nn.one_hot(jnp.array([[0, 1, 2], [3, 1, 0]]), 4)
    parts = [cross_entropy(logits, target, label_smoothing=label_smoothing) for target in (one, other)]
    mixed = cross_entropy(logits, share * one + (1 - share) * other, label_smoothing=label_smoothing)
    np.testing.assert_allclose(mixed, share * parts[0] + (1 - share) * parts[1], rtol=1e-5)


def test_half_precision_votes_are_answered_in_float32():
    probs = clip_probs(jnp.zeros((1, 2, 3), jnp.bfloat16)).probs
    assert probs.dtype == jnp.float32


def test_views_go_through_the_network_one_at_a_time_and_keep_their_places():
    views = np.arange(2 * 3, dtype=np.uint8).reshape(2, 3, 1, 1, 1, 1)
    shapes = []

    def infer_clips(clips):
        shapes.append(clips.shape)
        values = clips.reshape(-1, 1).astype(np.float32)
        return ClipProbs(values, -values)

    outputs = infer_views(infer_clips, views)
    assert shapes == [(2, 1, 1, 1, 1)] * 3
    np.testing.assert_array_equal(outputs.probs[..., 0], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(outputs.log_probs, -outputs.probs)


def test_inference_normalises_the_channels():
    network = models.create("single_frame", 3, backbone={"name": "small", "widths": (4,)})
    clips = np.random.default_rng(0).integers(0, 256, (2, 2, 8, 8, 3), np.uint8)
    variables = network.init(jax.random.key(0), jnp.zeros(clips.shape), train=False)
    normalization = Normalization(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    by_hand = (clips / 255 - np.array(normalization.mean)) / np.array(normalization.std)
    expected = clip_probs(network.apply(variables, by_hand.astype(np.float32), train=False))
    found = infer(network, variables, clips, clip_input=ClipInput(normalization=normalization))
    np.testing.assert_allclose(found.probs, expected.probs, rtol=1e-4)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_loss_has_a_number_for_each_clip(label_smoothing):
    logits = jnp.zeros((5, 7, 4))
    loss = cross_entropy(logits, jax.nn.one_hot(jnp.zeros(5, int), 4), label_smoothing=label_smoothing)
    np.testing.assert_allclose(loss, np.full(5, np.log(4)), rtol=1e-5)
