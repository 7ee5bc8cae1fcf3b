import functools
import itertools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_variables import random_variables

from vjax import models
from vjax.errors import InputError
from vjax.models.fusion import SingleFrame

NUM_CLASSES = 5
CLIP_SHAPE = (4, 8, 8, 3)
IGNORE_ORDER = ("single_frame", "late_pool")
KNOW_ORDER = tuple(name for name in models.FUSION_NETWORKS if name not in IGNORE_ORDER)

each_network = pytest.mark.parametrize("name", models.FUSION_NETWORKS)
each_norm = pytest.mark.parametrize("norm", ["batch", "group"])


def make(name, *, norm="batch", backbone="small", **kwargs):
    widths = {"small": {"widths": (8, 16)}, "resnet18": {"widths": (8, 8, 16, 16)}}.get(backbone, {})
    backbone_spec = {"name": backbone, "norm": norm, **widths}
    return models.create(name, NUM_CLASSES, backbone=backbone_spec, **kwargs)


@functools.cache
def make_with_variables(name, norm="batch"):
    """Returns a network, random variables and its jitted evaluation."""
    network = make(name, norm=norm)
    return network, random_variables(network, CLIP_SHAPE), jax.jit(functools.partial(network.apply, train=False))


def make_clips(num_clips, clip_shape=CLIP_SHAPE, seed=0):
    return np.random.default_rng(seed).normal(size=(num_clips, *clip_shape)).astype(np.float32)


def clip_probs(logits):
    return np.asarray(jax.nn.softmax(logits).mean(axis=1))


@each_network
@pytest.mark.parametrize("backbone", models.BACKBONES)
@given(b=st.integers(1, 3), t=st.integers(4, 9), h=st.integers(4, 33), w=st.integers(4, 33))
@settings(deadline=None, max_examples=5)
def test_a_single_frame_network_gives_logits_for_every_frame_and_every_other_network_for_the_clip(
    name, backbone, b, t, h, w
):
    network = make(name, backbone=backbone)
    clips = jax.ShapeDtypeStruct((b, t, h, w, 3), jnp.float32)
    logits = jax.eval_shape(lambda x: network.init_with_output(jax.random.key(0), x, train=False)[0], clips)
    chex.assert_shape(logits, (b, t if name == "single_frame" else 1, NUM_CLASSES))


@each_norm
@given(frame=st.integers(0, 3), seed=st.integers(0, 2**16))
@settings(deadline=None, max_examples=20)
def test_a_single_frame_vote_depends_on_its_own_frame_alone(norm, frame, seed):
    _, variables, evaluate = make_with_variables("single_frame", norm)
    clips = make_clips(1, seed=seed)
    before = np.asarray(evaluate(variables, clips))
    clips[:, frame] = make_clips(1, CLIP_SHAPE[1:], seed=seed + 1)
    after = np.asarray(evaluate(variables, clips))
    changed = np.abs(after - before).max(axis=(0, 2)) > 1e-5
    assert changed.tolist() == [at == frame for at in range(4)]


@functools.cache
def logits_in_every_order(name, norm):
    """Returns all 24 orders of a clip's four frames, and the logits for each; the first order is the clip's own."""
    _, variables, evaluate = make_with_variables(name, norm)
    orders = np.array(list(itertools.permutations(range(4))))
    return orders, np.asarray(evaluate(variables, make_clips(1)[0][orders]))


@each_norm
@pytest.mark.parametrize("name", IGNORE_ORDER)
def test_single_frame_and_late_pool_ignore_frame_order(name, norm):
    probs = clip_probs(logits_in_every_order(name, norm)[1])
    np.testing.assert_allclose(probs, probs[:1].repeat(24, axis=0), rtol=1e-4, atol=1e-6)


@each_norm
@pytest.mark.parametrize("name", KNOW_ORDER)
def test_every_other_network_gives_each_order_of_frames_its_own_probabilities(name, norm):
    probs = clip_probs(logits_in_every_order(name, norm)[1])
    differences = np.abs(probs[:, None] - probs[None]).max(axis=-1)[np.triu_indices(24, 1)]
    assert differences.min() > 1e-5


@each_norm
def test_the_votes_of_a_single_frame_network_stand_in_the_order_of_the_frames(norm):
    orders, logits = logits_in_every_order("single_frame", norm)
    np.testing.assert_allclose(logits, logits[0][orders], rtol=1e-4, atol=1e-5)


@each_network
def test_only_early_fusion_and_late_concat_care_at_which_time_an_event_happens(name):
    # The event is surrounded by black frames. Without biases a network maps black to zero, so it sees no border.
    network = make(name)
    event = make_clips(1, (4, 8, 8, 3))
    early, late = np.zeros((2, 1, 16, 8, 8, 3), np.float32)
    early[:, 4:8] = late[:, 8:12] = event
    variables = jax.tree.map_with_path(
        lambda path, leaf: leaf * 0 if path[-1].key in ("bias", "mean") else leaf,
        random_variables(network, early.shape[1:]),
    )
    evaluate = jax.jit(functools.partial(network.apply, train=False))
    same = np.allclose(
        clip_probs(evaluate(variables, early)), clip_probs(evaluate(variables, late)), rtol=1e-4, atol=1e-6
    )
    assert same is (name not in ("early_fusion", "late_concat"))


@each_norm
@each_network
def test_a_clip_gets_the_same_logits_in_any_batch(name, norm):
    _, variables, evaluate = make_with_variables(name, norm)
    clips = make_clips(3)
    together = evaluate(variables, clips)
    alone = [evaluate(variables, clips[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-4, atol=1e-5)


def test_of_a_single_frame_the_2d_networks_without_an_mlp_are_the_same_network():
    _, variables, evaluate = make_with_variables("single_frame")
    clips = make_clips(2, (1, 8, 8, 3))
    expected = evaluate(variables, clips)
    for name in ("late_pool", "early_fusion"):
        logits = jax.jit(functools.partial(make(name).apply, train=False))(variables, clips)
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


@each_network
def test_a_network_gives_the_same_logits_with_and_without_jit(name):
    network, variables, evaluate = make_with_variables(name)
    clips = make_clips(2)
    plain = network.apply(variables, clips, train=False)
    np.testing.assert_allclose(plain, evaluate(variables, clips), rtol=1e-4, atol=1e-5)


@each_network
def test_a_network_trains_the_same_with_and_without_jit(name):
    network, variables = make(name, dropout=0.5), make_with_variables(name)[1]

    def train(variables, clips):
        return network.apply(variables, clips, train=True, rngs={"dropout": jax.random.key(1)}, mutable=["batch_stats"])

    clips = make_clips(2)
    chex.assert_trees_all_close(train(variables, clips), jax.jit(train)(variables, clips), rtol=1e-4, atol=1e-4)


@each_network
def test_a_network_that_is_made_again_is_not_traced_again(name):
    _, variables, _ = make_with_variables(name)
    chex.clear_trace_counter()

    @functools.partial(jax.jit, static_argnums=0)
    @chex.assert_max_traces(n=1)
    def evaluate(network, variables, clips):
        return network.apply(variables, clips, train=False)

    for seed in range(3):
        evaluate(make(name), variables, make_clips(2, seed=seed))
    with pytest.raises(AssertionError, match="traced"):
        evaluate(make(name), variables, make_clips(3))


@each_norm
@each_network
def test_bfloat16_is_close_to_float32_and_keeps_logits_and_parameters_in_float32(name, norm):
    _, variables, evaluate = make_with_variables(name, norm)
    network, clips = make(name, norm=norm, dtype="bfloat16"), make_clips(4)
    exact = np.asarray(evaluate(variables, clips))
    logits = jax.jit(functools.partial(network.apply, train=False))(variables, clips)
    assert logits.dtype == jnp.float32
    error = np.abs(logits - exact).max() / np.abs(exact).max()
    assert 1e-5 < error < 0.05
    fresh = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, *CLIP_SHAPE)), train=False))
    assert {leaf.dtype for leaf in jax.tree.leaves(fresh)} == {jnp.dtype("float32")}


@each_norm
@each_network
def test_every_parameter_is_reached_by_a_finite_gradient(name, norm):
    network = make(name, norm=norm)
    clips = make_clips(4)
    variables = random_variables(network, CLIP_SHAPE)

    def loss(params):
        logits, _ = network.apply({**variables, "params": params}, clips, train=True, mutable=["batch_stats"])
        return -jax.nn.log_softmax(logits)[..., 0].mean()

    grads = jax.jit(jax.grad(loss))(variables["params"])
    chex.assert_trees_all_equal_shapes_and_dtypes(grads, variables["params"])
    chex.assert_tree_all_finite(grads)
    dead = [path for path, grad in jax.tree.leaves_with_path(grads) if not np.any(grad)]
    assert not dead


@each_network
def test_dropout_draws_in_training_alone(name):
    _, variables, evaluate = make_with_variables(name, "group")
    network, clips = make(name, norm="group", dropout=0.5), make_clips(2)
    expected = np.asarray(evaluate(variables, clips))
    evaluated = jax.jit(functools.partial(network.apply, train=False))(variables, clips)
    np.testing.assert_array_equal(evaluated, expected)
    train = jax.jit(lambda key: network.apply(variables, clips, train=True, rngs={"dropout": key}))
    first, again, other = (np.asarray(train(jax.random.key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert np.abs(first - expected).max() > 1e-3


@each_network
def test_without_dropout_a_group_norm_network_trains_as_it_evaluates(name):
    network, variables, evaluate = make_with_variables(name, "group")
    clips = make_clips(2)
    trained = jax.jit(functools.partial(network.apply, train=True))(variables, clips)
    np.testing.assert_allclose(trained, evaluate(variables, clips), rtol=1e-4, atol=1e-5)


@each_network
def test_a_network_is_not_called_without_saying_whether_it_trains(name):
    network, variables, _ = make_with_variables(name)
    with pytest.raises(TypeError, match="'train'"):
        network.apply(variables, make_clips(1))


@pytest.mark.parametrize("clip_shape", [(6, 8, 8, 3), (9, 12, 10, 3), (4, 13, 8, 3)])
@pytest.mark.parametrize("name", ["single_frame", "late_pool", "slow_fusion"])
def test_networks_that_average_over_time_take_clips_of_any_length_and_size(name, clip_shape):
    _, variables, evaluate = make_with_variables(name)
    logits = evaluate(variables, make_clips(2, clip_shape))
    chex.assert_shape(logits, (2, clip_shape[0] if name == "single_frame" else 1, NUM_CLASSES))
    chex.assert_tree_all_finite(logits)


def test_early_fusion_takes_frames_of_any_size():
    _, variables, evaluate = make_with_variables("early_fusion")
    chex.assert_shape(evaluate(variables, make_clips(2, (4, 13, 10, 3))), (2, 1, NUM_CLASSES))


@pytest.mark.parametrize("name", IGNORE_ORDER)
def test_a_clip_played_twice_gets_the_probabilities_it_gets_once(name):
    _, variables, evaluate = make_with_variables(name)
    clips = make_clips(2)
    twice = np.concatenate([clips, clips], axis=1)
    once, again = clip_probs(evaluate(variables, clips)), clip_probs(evaluate(variables, twice))
    np.testing.assert_allclose(once, again, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "clip_shape"),
    [("late_concat", (5, 8, 8, 3)), ("late_concat", (4, 12, 8, 3)), ("early_fusion", (5, 8, 8, 3))],
)
def test_a_network_bound_to_its_clips_refuses_others(name, clip_shape):
    network, variables, _ = make_with_variables(name)
    with pytest.raises(InputError, match=r"(late_concat|early_fusion) is bound to the clip length"):
        network.apply(variables, make_clips(1, clip_shape), train=False)


@each_network
@pytest.mark.parametrize("shape", [CLIP_SHAPE, (1, 2, *CLIP_SHAPE), (8, 8)])
def test_clips_of_the_wrong_rank_are_refused(name, shape):
    with pytest.raises(InputError, match=r"takes clips \(b t h w c\), rank 5; got shape \(" + str(shape)[1:-1]):
        make(name).init(jax.random.key(0), np.zeros(shape, np.float32), train=False)


@each_network
def test_frames_too_small_for_the_backbone_are_refused_by_every_network(name):
    with pytest.raises(InputError, match="the small backbone needs frames of at least 4 x 4, got 3 x 8"):
        make(name).init(jax.random.key(0), jnp.zeros((1, 4, 3, 8, 3)), train=False)


def test_only_slow_fusion_refuses_clips_too_short_for_its_pools():
    clips = jnp.zeros((1, 3, 8, 8, 3))
    for name in set(models.FUSION_NETWORKS) - {"slow_fusion"}:
        jax.eval_shape(functools.partial(make(name).init, train=False), jax.random.key(0), clips)
    with pytest.raises(InputError, match="the small backbone needs clips of at least 4 frames, got 3"):
        make("slow_fusion").init(jax.random.key(0), clips, train=False)


def test_an_unknown_way_of_fusing_is_refused_by_name():
    with pytest.raises(InputError, match="LateFusion's fusion is 'concat' or 'pool', got 'mean'"):
        make("late_concat").clone(fusion="mean")


@each_network
def test_an_unknown_norm_is_refused_by_every_network(name):
    with pytest.raises(InputError, match=r"network\.backbone\.norm does not know 'layer'\. Allowed: batch, group"):
        make(name, norm="layer")


class KeepsNoTime(nn.Module):
    """A backbone that breaks its contract: it drops the axis of time."""

    @nn.compact
    def __call__(self, clips, *, train):
        del train
        return clips.mean(1)


def test_a_backbone_that_returns_no_clips_is_noticed():
    with pytest.raises(AssertionError, match="shape"):
        SingleFrame(3, KeepsNoTime()).init(jax.random.key(0), jnp.zeros((1, 2, 8, 8, 3)), train=False)
