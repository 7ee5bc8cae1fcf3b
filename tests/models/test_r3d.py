import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax.traverse_util import flatten_dict

from vjax import models
from vjax.errors import InputError
from vjax.models.cost import count_parameters, multiply_adds
from vjax.models.r3d import torch_names
from vjax.models.resnet import Block, ResNet

CLIP_SHAPE = (16, 112, 112, 3)
NAMES = ("r3d_18", "mc3_18", "r2plus1d_18", "r3d_34", "r3d_50")
each_network = pytest.mark.parametrize("name", NAMES)


def shapes_of(network, clip_shape=CLIP_SHAPE, *, num_clips=1):
    """Returns the shapes of a network's logits and of its variables."""
    clips = jax.ShapeDtypeStruct((num_clips, *clip_shape), jnp.float32)
    return jax.eval_shape(lambda x: network.init_with_output(jax.random.key(0), x, train=False), clips)


def test_the_papers_form_of_r2plus1d_costs_what_vmz_published_and_has_about_the_parameters_of_r3d():
    """Source: VMZ, R(2+1)D-18 on 16 frames: 33.3 M (the next digit is not given) and 41.5 G."""
    network = models.create("r2plus1d_18", 400, mid="paper")
    parameters = count_parameters(shapes_of(network)[1]["params"])
    assert parameters == 33_370_839
    assert abs(parameters - 33_371_472) < 1000
    assert round(multiply_adds(network, CLIP_SHAPE) / 1e9, 1) == 41.5


STAGES = {
    "r3d_18": [(16, 64), (8, 128), (4, 256), (2, 512)],
    "mc3_18": [(16, 64), (16, 128), (16, 256), (16, 512)],
    "r2plus1d_18": [(16, 64), (8, 128), (4, 256), (2, 512)],
    "r3d_34": [(16, 64), (8, 128), (4, 256), (2, 512)],
    "r3d_50": [(16, 256), (8, 512), (4, 1024), (2, 2048)],
}
DEPTHS = {"r3d_34": (3, 4, 6, 3), "r3d_50": (3, 4, 6, 3)}


@each_network
def test_the_stages_have_the_sizes_of_the_papers_table(name):
    """Source: Tran et al. 2018, table 1, for 16 frames of 112 x 112; `mc3_18` keeps its frames from stage two on."""
    found = []

    def watch(call, args, kwargs, context):
        out = call(*args, **kwargs)
        if isinstance(context.module, Block) and context.method_name == "__call__":
            found.append(out.shape)
        return out

    with nn.intercept_methods(watch):
        shapes_of(models.create(name, 5))
    sides = (56, 28, 14, 7)
    assert found == [
        (1, frames, side, side, width)
        for depth, (frames, width), side in zip(DEPTHS.get(name, (2, 2, 2, 2)), STAGES[name], sides, strict=True)
        for _ in range(depth)
    ]


def kernels_of(name, **options):
    _, variables = shapes_of(models.create(name, 5, **options), (4, 16, 16, 3))
    params = flatten_dict(variables["params"]["backbone"], sep="/")
    return {path: leaf.shape for path, leaf in params.items() if leaf.ndim == 5}


def test_of_mc3s_kernels_those_of_the_stem_and_the_first_stage_alone_cover_time():
    first = ("Conv_0/", "BasicBlock_0/", "BasicBlock_1/")
    for path, shape in kernels_of("mc3_18").items():
        assert shape[0] == (3 if path.startswith(first) else 1), path


@pytest.mark.parametrize(("mid", "second"), [("torchvision", 230), ("paper", 288)])
def test_the_second_convolution_of_a_block_that_widens_has_the_width_of_its_form(mid, second):
    kernels = kernels_of("r2plus1d_18", mid=mid)
    assert kernels["FactoredConv_0/Conv_0/kernel"] == (1, 7, 7, 3, 45)
    assert kernels["BasicBlock_0/FactoredConv_0/Conv_0/kernel"] == (1, 3, 3, 64, 144)
    assert kernels["BasicBlock_2/FactoredConv_0/Conv_0/kernel"] == (1, 3, 3, 64, 230)
    assert kernels["BasicBlock_2/FactoredConv_1/Conv_0/kernel"] == (1, 3, 3, 128, second)


@each_network
@pytest.mark.parametrize("clip_shape", [(1, 1, 1, 3), (3, 9, 14, 3), (8, 32, 20, 3)])
def test_clips_of_any_length_and_size_get_one_opinion_in_float32(name, clip_shape):
    for dtype in ("float32", "bfloat16"):
        logits, variables = shapes_of(models.create(name, 7, dtype=dtype), clip_shape, num_clips=2)
        assert (logits.shape, logits.dtype) == ((2, 1, 7), jnp.float32)
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@each_network
def test_options_reach_the_network(name):
    network = models.create(name, 7, dropout=0.25, dtype="bfloat16", remat=True)
    assert (network.num_classes, network.dropout) == (7, 0.25)
    assert isinstance(network.backbone, ResNet)
    assert (network.backbone.dtype, network.backbone.remat) == (jnp.bfloat16, True)
    assert network == models.create(name, 7, dropout=0.25, dtype="bfloat16", remat=True)
    assert network != models.create(name, 7)


@each_network
def test_no_block_starts_as_the_identity_as_in_torchvision(name):
    assert not models.create(name, 7).backbone.identity_start


@each_network
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, "a network's dropout is a probability from 0 to below 1, got 1.0"),
        ({"dtype": "float16"}, r"network\.dtype does not know 'float16'"),
        ({"remat": 1}, r"network\.remat is True or False, got 1"),
        ({"backbone": "small"}, "does not know 'backbone'.*Allowed: dropout, dtype, (mid, )?remat$"),
    ],
)
def test_what_is_not_allowed_is_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        models.create(name, 7, **options)


def test_an_unknown_form_of_r2plus1d_is_refused_with_those_there_are():
    with pytest.raises(InputError, match=r"network\.mid does not know 'vmz'. Allowed: paper, torchvision$"):
        models.create("r2plus1d_18", 7, mid="vmz")


@each_network
def test_clips_that_are_none_are_refused(name):
    network = models.create(name, 7)
    with pytest.raises(InputError, match=r"takes clips \(b t h w c\), rank 5; got shape \(4, 8, 8, 3\)"):
        network.init(jax.random.key(0), jnp.zeros((4, 8, 8, 3)), train=False)
    with pytest.raises(InputError, match="a ResNet needs clips of at least 1 frames, got 0"):
        network.init(jax.random.key(0), jnp.zeros((1, 0, 8, 8, 3)), train=False)


def test_r3d_18_has_the_variables_of_slow_fusion_on_resnet18():
    one = shapes_of(models.create("r3d_18", 7))
    other = shapes_of(models.create("slow_fusion", 7, backbone={"name": "resnet18"}))
    assert one == other


def names_of(name):
    return torch_names(shapes_of(models.create(name, 7), (4, 16, 16, 3))[1])


@each_network
def test_each_variable_has_a_name_of_its_own_in_torchvision(name):
    names = names_of(name)
    _, variables = shapes_of(models.create(name, 7), (4, 16, 16, 3))
    assert names.keys() == flatten_dict(variables, sep="/").keys()
    assert len(set(names.values())) == len(names)


BLOCK = "params/backbone/BasicBlock"


@pytest.mark.parametrize(
    ("network", "ours", "theirs"),
    [
        ("r3d_18", "params/backbone/Conv_0/kernel", "stem.0.weight"),
        ("r3d_18", "params/backbone/BatchNorm_0/scale", "stem.1.weight"),
        ("r3d_18", "batch_stats/backbone/BatchNorm_0/mean", "stem.1.running_mean"),
        ("r3d_18", f"{BLOCK}_0/Conv_0/kernel", "layer1.0.conv1.0.weight"),
        ("r3d_18", f"{BLOCK}_3/BatchNorm_1/bias", "layer2.1.conv2.1.bias"),
        ("r3d_18", f"{BLOCK}_6/Conv_2/kernel", "layer4.0.downsample.0.weight"),
        ("mc3_18", "batch_stats/backbone/BasicBlock_2/BatchNorm_2/var", "layer2.0.downsample.1.running_var"),
        ("mc3_18", "params/head/logits/kernel", "fc.weight"),
        ("mc3_18", "params/head/logits/bias", "fc.bias"),
        ("r2plus1d_18", "params/backbone/FactoredConv_0/Conv_1/kernel", "stem.3.weight"),
        ("r2plus1d_18", "params/backbone/BatchNorm_0/bias", "stem.4.bias"),
        ("r2plus1d_18", f"{BLOCK}_5/FactoredConv_1/BatchNorm_0/scale", "layer3.1.conv2.0.1.weight"),
        ("r2plus1d_18", f"{BLOCK}_4/Conv_0/kernel", "layer3.0.downsample.0.weight"),
        ("r3d_34", f"{BLOCK}_12/Conv_1/kernel", "layer3.5.conv2.0.weight"),
        ("r3d_50", "params/backbone/Bottleneck_0/Conv_3/kernel", "layer1.0.downsample.0.weight"),
        ("r3d_50", "params/backbone/Bottleneck_15/Conv_2/kernel", "layer4.2.conv3.0.weight"),
    ],
)
def test_a_variable_has_the_name_of_its_tensor(network, ours, theirs):
    assert names_of(network)[ours] == theirs


def test_names_do_not_depend_on_the_order_of_the_variables():
    _, variables = shapes_of(models.create("r3d_34", 7), (4, 16, 16, 3))
    backbone = variables["params"]["backbone"]
    turned = {"params": {**variables["params"], "backbone": dict(reversed(backbone.items()))}}
    names = torch_names(variables)
    assert torch_names(turned) == {path: name for path, name in names.items() if path.startswith("params/")}
