import copy
import json
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax.traverse_util import flatten_dict
from hypothesis import given, settings
from hypothesis import strategies as st

from vjax import models
from vjax.errors import InputError
from vjax.training.init_from import in_classifier

WIDTHS = {"small": {"widths": (8, 16)}, "resnet18": {"widths": (8, 8, 16, 16)}, "efficientnet_lite0": {}}


# Networks that are made for one shape of clips, with the smallest clip that they take. All others take clips of
# 8 x 16 x 16.
CLIP_SHAPES = {
    "karpathy_single": (2, 170, 170, 3),
    "karpathy_early": (10, 170, 170, 3),
    "karpathy_late": (16, 170, 170, 3),
    "karpathy_slow": (10, 170, 170, 3),
    "c3d": (16, 112, 112, 3),
}
# The smallest clips of networks that take neither 8 x 16 x 16 nor one shape alone.
SMALLEST = CLIP_SHAPES | {"s3d": (5, 17, 17, 3)}
SINGLE_FRAME = ("single_frame", "karpathy_single")
each_row = pytest.mark.parametrize("name", models.NETWORKS)


def shapes_of(network, clip_shape=(4, 16, 16, 3)):
    clips = jax.ShapeDtypeStruct((2, *clip_shape), jnp.float32)
    return jax.eval_shape(lambda x: network.init_with_output(jax.random.key(0), x, train=False), clips)


@each_row
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_network_of_the_table_maps_clips_to_float32_logits_and_has_float32_variables(name, dtype):
    clip_shape = SMALLEST.get(name, (8, 16, 16, 3))
    logits, variables = shapes_of(models.create(name, 7, dtype=dtype), clip_shape)
    assert logits.shape == (2, clip_shape[0] if name in SINGLE_FRAME else 1, 7)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@each_row
def test_every_network_of_the_table_wants_to_know_whether_it_trains_and_refuses_single_frames(name):
    clip_shape = SMALLEST.get(name, (8, 16, 16, 3))
    with pytest.raises(TypeError, match="'train'"):
        jax.eval_shape(lambda: models.create(name, 7).init(jax.random.key(0), jnp.zeros((1, *clip_shape))))
    with pytest.raises(InputError, match=r"a network takes clips \(b t h w c\), rank 5; got shape \(1, "):
        models.create(name, 7).init(jax.random.key(0), jnp.zeros((1, *clip_shape[1:])), train=False)


@each_row
def test_in_every_network_only_the_classifier_depends_on_the_number_of_classes(name):
    clip_shape = SMALLEST.get(name, (8, 16, 16, 3))
    few, many = (flatten_dict(shapes_of(models.create(name, k), clip_shape)[1], sep="/") for k in (5, 7))
    differing = {path for path, leaf in few.items() if many[path].shape != leaf.shape}
    assert differing == set(filter(in_classifier, few)) == {f"params/head/logits/{leaf}" for leaf in ("kernel", "bias")}


@pytest.mark.parametrize("name", [name for name in CLIP_SHAPES if name != "karpathy_single"])
def test_a_network_made_for_one_shape_of_clips_takes_no_shorter_one(name):
    num_frames, *frame = CLIP_SHAPES[name]
    with pytest.raises(InputError, match=rf"{name} takes clips with {num_frames} frames of"):
        shapes_of(models.create(name, 7), (num_frames - 1, *frame))


@pytest.mark.parametrize("backbone", models.BACKBONES)
@pytest.mark.parametrize("name", models.FUSION_NETWORKS)
def test_every_network_works_on_every_backbone_and_only_slow_fusion_has_kernels_over_time(name, backbone):
    network = models.create(name, 7, backbone={"name": backbone, **WIDTHS[backbone]})
    logits, variables = shapes_of(network)
    assert logits.shape[::2] == (2, 7)
    kernels = [leaf.shape for leaf in jax.tree.leaves(variables["params"]) if leaf.ndim == 5]
    assert any(shape[0] > 1 for shape in kernels) is (name == "slow_fusion")


def test_the_ladder_has_five_rungs_that_are_five_networks():
    built = [models.create(name, 3) for name in models.FUSION_NETWORKS]
    assert len(set(built)) == len(models.FUSION_NETWORKS) == 5


def test_a_network_from_outside_is_made_by_its_name(monkeypatch):
    class Mine(nn.Module):
        num_classes: int
        width: int

    def make_mine(num_classes: int, *, width: int = 3) -> nn.Module:
        return Mine(num_classes, width)

    monkeypatch.setitem(models.NETWORKS, "mine", make_mine)
    assert models.create("mine", 7, width=5) == Mine(7, 5)
    with pytest.raises(InputError, match=r"network\.width is a whole number, got 'wide'"):
        models.create("mine", 7, width="wide")


@pytest.mark.parametrize("name", models.FUSION_NETWORKS)
def test_the_backbone_is_the_small_one_where_none_is_given(name):
    assert models.create(name, 3) == models.create(name, 3, backbone={"name": "small"})


def test_the_fields_of_networks_and_backbones_are_those_that_were_given():
    backbone = {"name": "small", "widths": (8, 24), "depth": 2, "norm": "group"}
    network = models.create("late_concat", 7, backbone=backbone, dropout=0.25, hidden=11, dtype="bfloat16")
    assert (network.num_classes, network.dropout, network.fusion, network.hidden) == (7, 0.25, "concat", 11)
    _, variables = shapes_of(network)
    shapes = {leaf.shape for leaf in jax.tree.leaves(variables["params"])}
    assert {(1, 3, 3, 3, 8), (1, 3, 3, 8, 8), (1, 3, 3, 8, 24), (1, 3, 3, 24, 24), (11, 7)} <= shapes
    assert set(variables) == {"params"}, "group norm keeps no statistics"
    assert network.backbone.dtype == jnp.bfloat16


def test_a_backbone_spec_is_read_and_not_written():
    backbone = {"name": "small", "widths": [4, 8]}
    before = copy.deepcopy(backbone)
    models.create("single_frame", 3, backbone=types.MappingProxyType(backbone))
    assert backbone == before


def test_a_network_made_from_json_is_the_one_made_from_python():
    written = {"name": "small", "widths": (4, 8)}
    read = json.loads(json.dumps(written))
    networks = {models.create("single_frame", 3, backbone=backbone) for backbone in (written, read)}
    assert len(networks) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "slow_fuson"}, r"network does not know 'slow_fuson'; did you mean 'slow_fusion'\?"),
        ({"name": "resnet"}, f"Allowed: {', '.join(sorted(models.NETWORKS))}$"),
        (
            {"name": "late_pool", "hidden": 3},
            "network 'late_pool' does not know 'hidden'.*Allowed: backbone, dropout, dtype$",
        ),
        (
            {"dtype": "float16"},
            r"network.dtype does not know 'float16'; did you mean 'bfloat16'\? .*: bfloat16, float32$",
        ),
        ({"dtype": jnp.float32}, r"network.dtype is a text, got"),
        (
            {"backbone": {"name": "resnet"}},
            r"backbone does not know 'resnet'; did you mean 'resnet18'\? .*: efficientnet_lite0, resnet18, small$",
        ),
        (
            {"backbone": {"widths": (4, 8)}},
            "network.backbone needs a name; choose one of: efficientnet_lite0, resnet18, small$",
        ),
        (
            {"backbone": {"name": "small", "width": (4, 8)}},
            r"network.backbone 'small' does not know 'width'; did you mean 'widths'\? .*: depth, .*, stride, widths$",
        ),
        (
            {"backbone": {"name": "resnet18", "depth": 2}},
            "network.backbone 'resnet18' does not know 'depth'.*Allowed: drop_path, factored, norm, remat, widths$",
        ),
        ({"backbone": {"name": "small", "temporal": True}}, "network.backbone 'small' does not know 'temporal'"),
        ({"backbone": {"name": "small", "dtype": "bfloat16"}}, "network.backbone 'small' does not know 'dtype'"),
        ({"fuse": "pool"}, "network 'slow_fusion' does not know 'fuse'.*Allowed: backbone, dropout, dtype$"),
        ({"name": "late_concat", "hiden": 3}, r"'late_concat' does not know 'hiden'; did you mean 'hidden'\?"),
        ({"parent": None}, "network 'slow_fusion' does not know 'parent'"),
    ],
)
def test_what_is_not_known_is_refused_with_the_names_that_are(arguments, message):
    with pytest.raises(InputError, match=message):
        models.create(**{"name": "slow_fusion", "num_classes": 3, **arguments})


@pytest.mark.parametrize("dropout", [1.0, -0.5, 2, float("nan")])
@pytest.mark.parametrize("name", [name for name in models.NETWORKS if "dropout" in models.NETWORKS.options(name)])
def test_a_dropout_that_is_no_probability_below_1_is_refused_by_every_network(name, dropout):
    with pytest.raises(InputError, match=f"a network's dropout is a probability from 0 to below 1, got {dropout}"):
        models.create(name, 3, dropout=dropout)


KNOWN = {*models.NETWORKS, *models.BACKBONES, "float32", "bfloat16"}


@given(name=st.text(max_size=20).filter(lambda name: name not in KNOWN))
@settings(deadline=None, max_examples=50)
def test_any_unknown_name_is_an_input_error(name):
    with pytest.raises(InputError, match="network does not know"):
        models.create(name, 3)
    with pytest.raises(InputError, match="backbone does not know"):
        models.create("slow_fusion", 3, backbone={"name": name})
    with pytest.raises(InputError, match="dtype does not know"):
        models.create("slow_fusion", 3, dtype=name)
