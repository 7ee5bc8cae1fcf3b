import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from hypothesis import given, settings
from hypothesis import strategies as st
from random_variables import random_variables

from vjax.errors import InputError
from vjax.models.backbones import BACKBONES, SmallBackbone, resnet18
from vjax.models.efficientnet import EfficientNet, Stage
from vjax.models.fusion import SingleFrame

# Few blocks and channels; an EfficientNet has no option for that.
MAKE = {
    "small": functools.partial(SmallBackbone, widths=(8, 16)),
    "resnet18": functools.partial(resnet18, widths=(8, 8, 16, 16)),
    "efficientnet_lite0": functools.partial(
        EfficientNet, stages=(Stage(1, 1, 3, 1, 1, 8), Stage(2, 2, 5, 2, 2, 8)), stem_features=8, features=16
    ),
}
each_backbone = pytest.mark.parametrize("name", BACKBONES)
each_reach = pytest.mark.parametrize("temporal", [False, True], ids=["2d", "3d"])


def make(name, *, temporal, **kwargs):
    return MAKE[name](temporal=temporal, **kwargs)


def make_clips(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# XLA takes longer to optimise a resnet of this size than to run it.
UNOPTIMISED = {"xla_backend_optimization_level": 0}


@functools.partial(jax.jit, static_argnums=0, static_argnames="train", compiler_options=UNOPTIMISED)
def apply_compiled(backbone, variables, clips, *, train):
    return backbone.apply(variables, clips, train=train, mutable=["batch_stats"])


def apply(backbone, variables, clips, *, train=False):
    out, changed = apply_compiled(backbone, variables, clips, train=train)
    return np.asarray(out), changed


sizes = {"b": st.integers(1, 3), "t": st.integers(1, 20), "h": st.integers(4, 40), "w": st.integers(4, 40)}


def feature_shape(backbone, b, t, h, w):
    clips = jax.ShapeDtypeStruct((b, t, h, w, 3), jnp.float32)
    return jax.eval_shape(lambda x: backbone.init_with_output(jax.random.key(0), x, train=False)[0], clips).shape


@each_reach
@given(**sizes)
@settings(deadline=None, max_examples=8)
def test_the_small_backbone_halves_every_size_once_a_stage(temporal, b, t, h, w):
    t = max(t, 4)
    expected = (b, t // 4 if temporal else t, h // 4, w // 4, 16)
    assert feature_shape(make("small", temporal=temporal), b, t, h, w) == expected


@each_reach
@given(**sizes)
@settings(deadline=None, max_examples=8)
def test_resnet18_divides_space_by_16_and_time_by_8_and_rounds_up(temporal, b, t, h, w):
    expected = (b, -(-t // 8) if temporal else t, -(-h // 16), -(-w // 16), 16)
    assert feature_shape(make("resnet18", temporal=temporal), b, t, h, w) == expected


@each_reach
@each_backbone
def test_the_parameters_of_a_backbone_do_not_depend_on_the_size_of_clips(name, temporal):
    backbone = make(name, temporal=temporal)
    smallest = 4 if name == "small" else 1
    shapes = []
    for size in [(smallest,) * 3, (4, 8, 8), (16, 32, 32)]:
        clips = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
        variables = jax.eval_shape(lambda x: backbone.init(jax.random.key(0), x, train=False), clips)
        shapes.append({jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree.leaves_with_path(variables)})
    assert shapes[0] == shapes[1] == shapes[2]


@each_backbone
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_2d_backbone_looks_at_every_frame_by_itself(name, norm):
    # Group norm takes its statistics over a clip, so the networks pass each frame as its own clip.
    backbone, clips = make(name, temporal=False, norm=norm), make_clips((3, 1, 8, 8, 3))
    variables = random_variables(backbone, (4, 8, 8, 3))
    before, _ = apply(backbone, variables, clips)
    clips[1] += 1
    after, _ = apply(backbone, variables, clips)
    changed = np.abs(after - before).max(axis=(1, 2, 3, 4)) > 1e-4
    assert changed.tolist() == [False, True, False]


@each_backbone
def test_the_frames_of_a_clip_meet_in_a_3d_backbone_alone(name):
    clips = make_clips((1, 8, 8, 8, 3))
    touched = clips.copy()
    touched[:, 4] += 1
    reached = {}
    for temporal in (False, True):
        backbone = make(name, temporal=temporal)
        variables = random_variables(backbone, (8, 8, 8, 3))
        difference = apply(backbone, variables, touched)[0] - apply(backbone, variables, clips)[0]
        reached[temporal] = np.abs(difference).max(axis=(0, 2, 3, 4)) > 1e-5
    assert reached[False].tolist() == [False] * 4 + [True] + [False] * 3
    assert reached[True].all()


@pytest.mark.parametrize("seed", range(3))
def test_a_3d_small_backbone_shifts_with_time_by_its_whole_stride(seed):
    backbone, clips = make("small", temporal=True), make_clips((2, 16, 8, 8, 3), seed)
    variables = random_variables(backbone, (4, 8, 8, 3))
    out, _ = apply(backbone, variables, clips)
    shifted, _ = apply(backbone, variables, np.roll(clips, 4, axis=1))
    # Of the 4 features over time, 0 and 3 see the padding; 1 and 2 do not.
    np.testing.assert_allclose(shifted[:, 2], out[:, 1], rtol=1e-4, atol=1e-5)
    assert not np.allclose(shifted[:, 1], out[:, 1], atol=1e-3)


def test_a_shift_by_less_than_the_stride_is_not_a_shift_of_the_features():
    backbone, clips = make("small", temporal=True), make_clips((2, 16, 8, 8, 3))
    variables = random_variables(backbone, (4, 8, 8, 3))
    out, _ = apply(backbone, variables, clips)
    shifted, _ = apply(backbone, variables, np.roll(clips, 2, axis=1))
    assert not np.allclose(shifted[:, 2], out[:, 1], atol=1e-3)


@each_backbone
def test_batch_statistics_move_in_training_and_not_in_evaluation(name):
    backbone, clips = make(name, temporal=True), make_clips((3, 4, 8, 8, 3))
    variables = random_variables(backbone, (4, 8, 8, 3))
    _, evaluated = apply(backbone, variables, clips, train=False)
    _, trained = apply(backbone, variables, clips, train=True)
    before = variables["batch_stats"]
    chex.assert_trees_all_equal(evaluated["batch_stats"], before)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), trained["batch_stats"], before)
    assert all(jax.tree.leaves(moved))


def other_clips_matter(backbone, *, train):
    """Tells whether the features of the first clip of a batch depend on the other clips."""
    clips, variables = make_clips((3, 4, 8, 8, 3)), random_variables(backbone, (4, 8, 8, 3))
    features, _ = apply(backbone, variables, clips, train=train)
    clips[1:] = 3 * make_clips((2, 4, 8, 8, 3), seed=1)
    beside_others, _ = apply(backbone, variables, clips, train=train)
    assert not np.allclose(features[1:], beside_others[1:], atol=1e-2)
    return not np.allclose(features[0], beside_others[0], rtol=1e-4, atol=1e-4)


@each_backbone
def test_batch_norm_joins_the_clips_of_a_training_batch_and_not_of_a_test_batch(name):
    backbone = make(name, temporal=True)
    assert other_clips_matter(backbone, train=True)
    assert not other_clips_matter(backbone, train=False)


@each_backbone
def test_group_norm_keeps_no_statistics_and_the_clips_of_a_training_batch_apart(name):
    backbone = make(name, temporal=True, norm="group")
    assert set(random_variables(backbone, (4, 8, 8, 3))) == {"params"}
    assert not other_clips_matter(backbone, train=True)


@pytest.mark.parametrize("norm", ["batch", "group"])
@each_backbone
def test_a_bfloat16_backbone_gives_bfloat16_features_and_keeps_float32_variables(name, norm):
    backbone = make(name, temporal=True, norm=norm, dtype=jnp.bfloat16)
    clips = jnp.zeros((1, 4, 8, 8, 3))
    features, variables = jax.eval_shape(
        lambda: backbone.init_with_output(jax.random.key(0), clips, train=True, mutable=True)
    )
    assert features.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(("temporal", "norm"), [(False, "group"), (True, "batch")])
def test_every_parameter_of_resnet18_is_reached_by_the_gradient(temporal, norm):
    # At initialisation the last norm of a block has a scale of zero, which stops the gradient of the layers before it.
    backbone, clips = make("resnet18", temporal=temporal, norm=norm), make_clips((2, 4, 16, 16, 3))
    variables = random_variables(backbone, (4, 16, 16, 3))

    def loss(params):
        features, _ = backbone.apply({**variables, "params": params}, clips, train=True, mutable=["batch_stats"])
        return jnp.sum(features * jnp.cos(jnp.arange(features.size).reshape(features.shape)))

    grads = jax.jit(jax.grad(loss), compiler_options=UNOPTIMISED)(variables["params"])
    chex.assert_tree_all_finite(grads)
    dead = [path for path, grad in jax.tree.leaves_with_path(grads) if not np.any(grad)]
    assert not dead


def dropout_rates(backbone, *, train):
    """Returns the rates of all dropout layers of a backbone, in order of their calls."""
    rates = []

    def watch(call, args, kwargs, context):
        if isinstance(context.module, nn.Dropout):
            rates.append(context.module.rate)
        return call(*args, **kwargs)

    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    with nn.intercept_methods(watch):
        jax.eval_shape(lambda: backbone.init(keys, jnp.zeros((1, 4, 16, 16, 3)), train=train))
    return rates


def test_drop_path_rises_from_block_to_block_to_its_full_rate_at_the_last_and_is_for_training_alone():
    backbone = make("resnet18", temporal=True, drop_path=0.4)
    np.testing.assert_allclose(dropout_rates(backbone, train=True), [0.05 * block for block in range(1, 9)])
    np.testing.assert_array_equal(dropout_rates(backbone, train=False), np.zeros(8))


def test_frames_that_a_2d_network_looks_at_by_themselves_are_dropped_by_themselves():
    backbone = make("resnet18", temporal=False, widths=(4,), norm="group", drop_path=0.9)
    network = SingleFrame(3, backbone)
    clips = np.repeat(make_clips((1, 1, 8, 8, 3)), 16, axis=1)
    variables = random_variables(network, clips.shape[1:])
    train = jax.jit(lambda key: network.apply(variables, clips, train=True, rngs={"dropout": key})[0])
    first, again, other = (np.asarray(train(jax.random.key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert len(np.unique(first.round(4), axis=0)) > 1, "identical frames have separate draws"


REMATERIALISED = {
    "small": functools.partial(SmallBackbone, temporal=False, widths=(8, 16), depth=(1, 2), stride=2),
    "resnet18": functools.partial(resnet18, temporal=False, widths=(4,), drop_path=0.5),
    "efficientnet_lite0": functools.partial(MAKE["efficientnet_lite0"], temporal=False, drop_path=0.5),
    "factored resnet18": functools.partial(resnet18, temporal=True, widths=(4, 8), factored=True),
}
each_rematerialised = pytest.mark.parametrize("backbone", REMATERIALISED.values(), ids=REMATERIALISED)
KEYS = {"params": jax.random.key(0, impl="rbg"), "dropout": jax.random.key(1)}  # rbg compiles faster


def gradient_of(backbone, clips):
    """Returns a function that gives the gradient of a loss by a backbone's parameters, and the new batch statistics."""

    def loss(params, rest):
        features, changed = backbone.apply(
            {**rest, "params": params}, clips, train=True, mutable=["batch_stats"], rngs={"dropout": KEYS["dropout"]}
        )
        return jnp.sum(features * jnp.cos(jnp.arange(features.size).reshape(features.shape))), changed

    return jax.grad(loss, has_aux=True)


@pytest.mark.parametrize("name", ["small", "resnet18", "efficientnet_lite0"])
def test_rematerialisation_changes_neither_parameters_nor_gradients_nor_statistics(name):
    backbone, clips = REMATERIALISED[name], make_clips((2, 4, 8, 8, 3))
    variables = random_variables(backbone(), (4, 8, 8, 3))
    rest = {name: tree for name, tree in variables.items() if name != "params"}
    plain, again = (
        jax.jit(gradient_of(backbone(remat=remat), clips), compiler_options=UNOPTIMISED)(variables["params"], rest)
        for remat in (False, True)
    )
    chex.assert_trees_all_close(plain, again, rtol=1e-4, atol=1e-4)
    assert all(np.any(before != after) for before, after in zip(*map(jax.tree.leaves, (rest, again[1])), strict=True))


@each_rematerialised
@pytest.mark.parametrize("train", [False, True])
def test_variables_have_the_same_names_and_shapes_with_and_without_rematerialisation(backbone, train):
    clips = jnp.zeros((1, 4, 16, 16, 3))
    plain, again = (
        jax.eval_shape(functools.partial(backbone(remat=remat).init, train=train), KEYS, clips)
        for remat in (False, True)
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(plain, again)


def test_parameters_start_at_the_same_values_with_and_without_rematerialisation():
    plain, again = (
        jax.jit(lambda keys, backbone: backbone.init(keys, jnp.zeros((1, 4, 8, 8, 3)), train=True), static_argnums=1)(
            KEYS, SmallBackbone(temporal=True, widths=(4, 8), remat=remat)
        )
        for remat in (False, True)
    )
    chex.assert_trees_all_equal(plain, again)


@each_rematerialised
def test_rematerialisation_keeps_less_of_the_forward_pass(backbone):
    clips = jax.ShapeDtypeStruct((8, 4, 16, 16, 3), jnp.float32)

    def kept(*, remat):
        variables = random_variables(backbone(), (4, 16, 16, 3))

        def forward(clips):
            def features(params):
                keys = {"dropout": KEYS["dropout"]}
                return backbone(remat=remat).apply(
                    {**variables, "params": params}, clips, train=True, rngs=keys, mutable=["batch_stats"]
                )[0]

            return jax.vjp(features, variables["params"])[1]

        return sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(forward, clips)))

    assert kept(remat=True) < 0.6 * kept(remat=False)


@each_reach
def test_depth_is_the_number_of_convolutions_in_a_stage(temporal):
    kernels = {}
    for depth in (1, 3):
        backbone = SmallBackbone(temporal=temporal, widths=(8, 16), depth=depth)
        shapes = jax.eval_shape(
            lambda backbone=backbone: backbone.init(jax.random.key(0), jnp.zeros((1, 4, 8, 8, 3)), train=False)
        )
        kernels[depth] = [leaf.shape[3:] for leaf in jax.tree.leaves(shapes["params"]) if leaf.ndim == 5]
    assert kernels[1] == [(3, 8), (8, 16)]
    assert kernels[3] == [(3, 8), (8, 8), (8, 8), (8, 16), (16, 16), (16, 16)]


@each_backbone
def test_a_backbone_is_not_called_without_saying_whether_it_trains(name):
    backbone = make(name, temporal=True)
    with pytest.raises(TypeError, match="'train'"):
        backbone.init(jax.random.key(0), jnp.zeros((1, 4, 8, 8, 3)))


@pytest.mark.parametrize(
    ("backbone", "clip_shape", "message"),
    [
        (SmallBackbone(temporal=True), (7, 8, 8, 3), "the small backbone needs clips of at least 8 frames, got 7"),
        (SmallBackbone(temporal=True, widths=(4, 8)), (3, 8, 8, 3), "at least 4 frames, got 3"),
        (SmallBackbone(temporal=True), (8, 8, 7, 3), "the small backbone needs frames of at least 8 x 8, got 8 x 7"),
        (SmallBackbone(temporal=False), (1, 7, 8, 3), "the small backbone needs frames of at least 8 x 8, got 7 x 8"),
        (SmallBackbone(temporal=False), (0, 8, 8, 3), "the small backbone needs clips of at least 1 frames, got 0"),
        (resnet18(temporal=True), (0, 8, 8, 3), "a ResNet needs clips of at least 1 frames, got 0"),
        (resnet18(temporal=True), (4, 8, 0, 3), "a ResNet needs frames of at least 1 x 1, got 8 x 0"),
    ],
)
def test_clips_too_short_or_small_for_a_backbone_are_refused(backbone, clip_shape, message):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(lambda: backbone.init(jax.random.key(0), jnp.zeros((1, *clip_shape)), train=False))


@each_backbone
def test_an_unknown_norm_is_refused_by_name(name):
    with pytest.raises(InputError, match="a backbone's norm is 'batch', 'group' or 'none', got 'layer'"):
        feature_shape(make(name, temporal=True, norm="layer"), 1, 4, 8, 8)


@pytest.mark.parametrize("name", ["small", "resnet18"])
@pytest.mark.parametrize("width", [8, 12, 20, 5])
def test_group_norm_takes_backbones_of_any_width(name, width):
    assert feature_shape(make(name, temporal=True, norm="group", widths=(width,) * 2), 1, 4, 8, 8)[-1] == width


@pytest.mark.parametrize("temporal", [False, True])
def test_a_stride_is_that_of_the_first_convolution_over_space(temporal):
    clips = jnp.asarray(np.random.default_rng(0).random((1, 8, 24, 32, 3)), jnp.float32)
    plain, strided = (SmallBackbone(temporal=temporal, widths=(4, 8), depth=2, stride=stride) for stride in (1, 2))
    variables = plain.init(jax.random.key(0), clips, train=False)
    full, half = (backbone.apply(variables, clips, train=False) for backbone in (plain, strided))
    assert (full.shape[2:4], half.shape[2:4]) == ((6, 8), (3, 4))
    assert full.shape[1] == half.shape[1]
    with pytest.raises(InputError, match=r"the small backbone"):
        strided.init(jax.random.key(0), clips[:, :, :6], train=False)


def test_each_stage_has_its_own_depth_where_a_depth_is_given_for_each():
    backbone = SmallBackbone(temporal=True, widths=(8, 16), depth=(1, 3))
    shapes = jax.eval_shape(
        functools.partial(backbone.init, train=False), jax.random.key(0), jnp.zeros((1, 4, 8, 8, 3))
    )
    kernels = [leaf.shape[3:] for leaf in jax.tree.leaves(shapes["params"]) if leaf.ndim == 5]
    assert kernels == [(3, 8), (8, 16), (16, 16), (16, 16)]


@pytest.mark.parametrize(
    ("backbone", "fields", "message"),
    [
        (
            SmallBackbone,
            {"depth": (1, 2, 3), "widths": (8, 16)},
            r"the small backbone has 2 widths, and needs one depth .* for each; got \(1, 2, 3\)",
        ),
        (SmallBackbone, {"stride": 0}, "the small backbone needs a stride of 1 or more, got 0"),
        (SmallBackbone, {"depth": 0}, "the small backbone needs a depth of 1 or more in every stage, got 0"),
        (SmallBackbone, {"depth": (1, 1, -1)}, r"a depth of 1 or more in every stage, got \(1, 1, -1\)"),
        (SmallBackbone, {"widths": ()}, r"the small backbone needs a width of 1 or more .* got \(\)"),
        (SmallBackbone, {"widths": (8, 0)}, r"the small backbone needs a width of 1 or more .* got \(8, 0\)"),
        (resnet18, {"widths": ()}, r"a ResNet needs a width of 1 or more .* got \(\)"),
        (resnet18, {"drop_path": 1.0}, "a ResNet's drop_path is a probability from 0 to below 1, got 1.0"),
        (resnet18, {"drop_path": -0.1}, "drop_path is a probability from 0 to below 1, got -0.1"),
    ],
)
def test_fields_that_make_no_backbone_are_refused_before_there_are_clips(backbone, fields, message):
    with pytest.raises(InputError, match=message):
        backbone(temporal=True, **fields)


def test_a_factored_resnet_has_kernels_over_space_or_time_alone_and_about_the_parameters_of_the_whole_one():
    def kernels(*, factored, temporal):
        backbone = resnet18(temporal=temporal, factored=factored)
        clips = jnp.zeros((1, 8, 16, 16, 3))
        shapes = jax.eval_shape(functools.partial(backbone.init, train=False), jax.random.key(0), clips)
        return [leaf.shape for leaf in jax.tree.leaves(shapes["params"]) if leaf.ndim == 5]

    factored, whole = kernels(factored=True, temporal=True), kernels(factored=False, temporal=True)
    assert all(1 in (shape[0], shape[1]) for shape in factored)
    assert len(factored) == 2 * 17 + 3
    sizes = [sum(np.prod(shape) for shape in shapes) for shapes in (factored, whole)]
    assert 0.99 < sizes[0] / sizes[1] <= 1
    assert kernels(factored=True, temporal=False) == kernels(factored=False, temporal=False)


OF_KEY_0 = {
    False: {
        "Conv_0/kernel": [0.04527634, -0.019499, 0.0313761],
        "BasicBlock_2/Conv_1/kernel": [-0.15895084, -0.03902832, -0.1099102],
        "BasicBlock_2/Conv_2/kernel": [0.91816539, -0.50876623, -0.03304555],
    },
    True: {
        "FactoredConv_0/Conv_0/kernel": [0.12296568, 0.09694698, -0.07856882],
        "BasicBlock_2/FactoredConv_1/Conv_1/kernel": [0.1860327, 0.02169486, 0.18406472],
        "BasicBlock_2/Conv_0/kernel": [0.30886042, -0.06629016, 0.36737731],
    },
}


@pytest.mark.parametrize("factored", OF_KEY_0)
def test_the_names_of_resnet18s_parameters_and_the_values_that_a_key_draws_stay_the_same(factored):
    """A renamed module would be drawn with other random numbers, and runs of before could not be repeated."""
    backbone = resnet18(temporal=True, widths=(4, 8), factored=factored)
    init = jax.jit(functools.partial(backbone.init, train=False), compiler_options=UNOPTIMISED)
    params = flatten_dict(init(jax.random.key(0), jnp.zeros((1, 2, 8, 8, 3)))["params"], sep="/")
    conv = "FactoredConv" if factored else "Conv"
    modules = {f"{conv}_0", "BatchNorm_0"}
    for block in range(4):
        modules |= {f"BasicBlock_{block}/{kind}_{number}" for kind in (conv, "BatchNorm") for number in (0, 1)}
    modules |= {"BasicBlock_2/BatchNorm_2", "BasicBlock_2/Conv_0" if factored else "BasicBlock_2/Conv_2"}
    factors = ("/Conv_0", "/BatchNorm_0", "/Conv_1")
    expected = {module + part for module in modules for part in (factors if "Factored" in module else ("",))}
    assert {name.rpartition("/")[0] for name in params} == expected
    for name, values in OF_KEY_0[factored].items():
        np.testing.assert_allclose(params[name].ravel()[:3], values, rtol=1e-5)
