import re

import flax.linen as nn
import flax.traverse_util
import jax
import ml_dtypes
import numpy as np
import pytest
from random_variables import random_variables

from vjax.errors import InputError
from vjax.layers.norm import BatchNorm
from vjax.models.fusion import Head
from vjax.training.convert import convert, to_torch


class Network(nn.Module):
    """One layer of each kind, with PyTorch's names beside it."""

    num_classes: int = 5

    @nn.compact
    def __call__(self, clips, *, train):
        x = nn.Conv(4, (1, 3, 3), padding=[(0, 0), (1, 1), (1, 1)], use_bias=False, name="flat")(clips)
        x = BatchNorm(train, name="norm")(x)
        x = nn.Conv(4, (3, 3, 3), padding=1, name="deep")(x)
        x = nn.Conv(4, (1, 3, 3), padding=[(0, 0), (1, 1), (1, 1)], feature_group_count=4, name="depthwise")(x)
        x = nn.Conv(6, (1, 1, 1), name="point")(x)
        x = nn.Dense(7, name="dense")(x.mean((1, 2, 3)))
        return Head(self.num_classes, 0.0, name="head")(x[:, None], train=train)


NAMES = {
    "params/flat/kernel": "flat.weight",
    "params/norm/scale": "norm.weight",
    "params/norm/bias": "norm.bias",
    "batch_stats/norm/mean": "norm.running_mean",
    "batch_stats/norm/var": "norm.running_var",
    **{
        f"params/{ours}/{kind}": f"{theirs}.{'weight' if kind == 'kernel' else 'bias'}"
        for ours, theirs in {"deep": "deep", "depthwise": "depthwise", "point": "point", "dense": "dense",
                             "head/logits": "fc"}.items()
        for kind in ("kernel", "bias")
    },
}  # fmt: skip
SHAPES = {
    "flat.weight": (4, 3, 3, 3),
    "norm.weight": (4,),
    "norm.bias": (4,),
    "norm.running_mean": (4,),
    "norm.running_var": (4,),
    "norm.num_batches_tracked": (),
    "deep.weight": (4, 4, 3, 3, 3),
    "deep.bias": (4,),
    "depthwise.weight": (4, 1, 3, 3),
    "depthwise.bias": (4,),
    "point.weight": (6, 4, 1, 1, 1),
    "point.bias": (6,),
    "dense.weight": (7, 6),
    "dense.bias": (7,),
    "fc.weight": (5, 7),
    "fc.bias": (5,),
}
CLIPS = np.random.default_rng(1).normal(size=(2, 4, 6, 6, 3)).astype(np.float32)


def variables(num_classes=5):
    return random_variables(Network(num_classes), CLIPS.shape[1:])


def tensors(**changes):
    rng = np.random.default_rng(0)
    drawn = {name: rng.uniform(0.5, 1.5, shape).astype(np.float32) for name, shape in SHAPES.items()}
    drawn["norm.num_batches_tracked"] = np.array(3)
    return {**drawn, **{name.replace("__", "."): value for name, value in changes.items()}}


def test_every_variable_gets_its_tensor_with_our_axes():
    theirs = tensors()
    done = convert(variables(), theirs, NAMES, where="x.pth")
    assert (done.unused, done.reinitialised, done.inflated) == ((), (), ())
    assert jax.tree.map(np.shape, done.variables) == jax.tree.map(np.shape, variables())
    flat = flax.traverse_util.flatten_dict(done.variables, sep="/")
    np.testing.assert_array_equal(flat["params/flat/kernel"], theirs["flat.weight"].transpose(2, 3, 1, 0)[None])
    np.testing.assert_array_equal(flat["params/deep/kernel"], theirs["deep.weight"].transpose(2, 3, 4, 1, 0))
    np.testing.assert_array_equal(flat["params/dense/kernel"], theirs["dense.weight"].T)
    np.testing.assert_array_equal(flat["batch_stats/norm/var"], theirs["norm.running_var"])


@pytest.mark.torch
def test_the_network_computes_what_pytorch_computes():
    torch = pytest.importorskip("torch")
    theirs = {name: torch.from_numpy(np.array(value)) for name, value in tensors().items()}
    functional = torch.nn.functional
    x = torch.from_numpy(CLIPS).permute(0, 4, 1, 2, 3)
    x = functional.conv3d(x, theirs["flat.weight"][:, :, None], padding=(0, 1, 1))
    statistics = theirs["norm.running_mean"], theirs["norm.running_var"]
    x = functional.batch_norm(x, *statistics, theirs["norm.weight"], theirs["norm.bias"])
    x = functional.conv3d(x, theirs["deep.weight"], theirs["deep.bias"], padding=1)
    x = functional.conv3d(
        x, theirs["depthwise.weight"][:, :, None], theirs["depthwise.bias"], padding=(0, 1, 1), groups=4
    )
    x = functional.conv3d(x, theirs["point.weight"], theirs["point.bias"])
    x = functional.linear(x.mean((2, 3, 4)), theirs["dense.weight"], theirs["dense.bias"])
    wanted = functional.linear(x, theirs["fc.weight"], theirs["fc.bias"])
    done = convert(variables(), tensors(), NAMES, where="x.pth")
    np.testing.assert_allclose(Network().apply(done.variables, CLIPS, train=False)[:, 0], wanted, rtol=1e-4)


def test_shapes_are_enough_to_convert():
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), variables())
    done = convert(shapes, tensors(), NAMES, where="x.pth")
    jax.tree.map(
        np.testing.assert_array_equal, done.variables, convert(variables(), tensors(), NAMES, where="").variables
    )
    assert jax.tree.structure(done.variables) == jax.tree.structure(variables())


def test_a_classifier_of_1x1x1_convolution_fits_a_dense_one():
    done = convert(variables(), tensors(fc__weight=tensors()["fc.weight"][..., None, None, None]), NAMES, where="")
    np.testing.assert_array_equal(done.variables["params"]["head"]["logits"]["kernel"], tensors()["fc.weight"].T)


CLASSIFIER = ("params/head/logits/kernel", "params/head/logits/bias")


def test_a_classifier_for_other_classes_keeps_its_initial_values():
    initial = variables(num_classes=3)
    done = convert(initial, tensors(), NAMES, where="x.pth")
    assert set(done.reinitialised) == set(CLASSIFIER)
    assert done.unused == ("fc.weight", "fc.bias")
    jax.tree.map(np.testing.assert_array_equal, done.variables["params"]["head"], initial["params"]["head"])
    np.testing.assert_array_equal(done.variables["params"]["dense"]["bias"], tensors()["dense.bias"])


def test_a_file_without_a_classifier_leaves_ours_as_it_is():
    theirs = {name: value for name, value in tensors().items() if not name.startswith("fc.")}
    assert set(convert(variables(), theirs, NAMES, where="x.pth").reinitialised) == set(CLASSIFIER)


def test_tensors_that_nothing_takes_are_named_and_counts_of_batches_are_not():
    extra = tensors(aux__weight=np.ones((2, 3), np.float32))
    assert convert(variables(), extra, NAMES, where="x.pth").unused == ("aux.weight",)


def test_half_precision_becomes_the_dtype_of_the_variable():
    done = convert(variables(), tensors(dense__bias=np.arange(7).astype(ml_dtypes.bfloat16)), NAMES, where="x.pth")
    bias = done.variables["params"]["dense"]["bias"]
    assert bias.dtype == np.float32
    np.testing.assert_array_equal(bias, np.arange(7))


def test_a_network_without_batch_norms_keeps_its_empty_statistics():
    initial = {"params": {"dense": {"bias": np.zeros(7, np.float32)}}, "batch_stats": {}}
    done = convert(initial, tensors(), {"params/dense/bias": "dense.bias"}, where="x.pth")
    assert done.variables["batch_stats"] == {}


def test_a_classifier_of_another_width_is_reinitialised():
    """Late concatenation on a pretrained backbone: its classifier sees a hidden layer, not the backbone."""
    done = convert(variables(), tensors(fc__weight=np.ones((5, 8), np.float32)), NAMES, where="x.pth")
    assert set(done.reinitialised) == set(CLASSIFIER)


def test_a_flat_kernel_is_inflated_for_a_deep_one():
    theirs = tensors(deep__weight=np.random.default_rng(2).normal(size=(4, 4, 3, 3)).astype(np.float32))
    done = convert(variables(), theirs, NAMES, where="x.pth")
    assert done.inflated == ("params/deep/kernel",)
    kernel = np.asarray(done.variables["params"]["deep"]["kernel"])
    np.testing.assert_allclose(kernel, kernel[:1].repeat(3, axis=0))
    np.testing.assert_allclose(kernel.sum(0), theirs["deep.weight"].transpose(2, 3, 1, 0), rtol=1e-6)


def test_a_part_without_names_keeps_its_initial_values_and_so_does_the_classifier():
    """What the classifier sees may come from that part."""
    names = {name: theirs for name, theirs in NAMES.items() if "deep" not in name.split("/")}
    initial = variables()
    done = convert(initial, tensors(), names, where="x.pth")
    assert set(done.reinitialised) == {"params/deep/kernel", "params/deep/bias", *CLASSIFIER}
    assert set(done.unused) == {"deep.weight", "deep.bias", "fc.weight", "fc.bias"}
    np.testing.assert_array_equal(done.variables["params"]["deep"]["kernel"], initial["params"]["deep"]["kernel"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"deep__weight": np.ones((4, 4, 5, 3, 3), np.float32)},
            "x.pth does not fit this network: deep.weight (4, 4, 5, 3, 3) there, params/deep/kernel (3, 3, 3, 4, 4) he",
        ),
        (
            {"flat__weight": np.ones((4, 3, 3, 3, 3), np.float32)},
            "flat.weight (4, 3, 3, 3, 3) there, params/flat/kernel (1, 3, 3, 3, 4) here",
        ),
        ({"norm__running_var": np.ones(8, np.float32)}, "norm.running_var (8,) there, batch_stats/norm/var (4,) here"),
        ({"norm__bias": np.ones(4, np.int8)}, "x.pth: norm.bias holds int8 where a network has floating-point numbers"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_with_both_shapes(changes, message):
    with pytest.raises(InputError, match=re.escape(message)):
        convert(variables(), tensors(**changes), NAMES, where="x.pth")


def test_a_part_with_too_few_names_is_refused():
    names = {ours: name for ours, name in NAMES.items() if name != "deep.weight"}
    with pytest.raises(InputError, match=r"params/deep/kernel None there, params/deep/kernel \(3, 3, 3, 4, 4\) here"):
        convert(variables(), tensors(), names, where="x.pth")


def test_a_missing_tensor_is_refused_by_both_names():
    theirs = tensors()
    del theirs["deep.bias"]
    with pytest.raises(InputError, match=r"x\.pth: has no tensor called deep\.bias for params/deep/bias \(4,\)"):
        convert(variables(), theirs, NAMES, where="x.pth")


def test_tensors_of_pytorch_are_what_the_variables_came_from():
    theirs = tensors()
    found = to_torch(convert(variables(), theirs, NAMES, where="x.pth").variables, NAMES)
    # A network with one 3D kernel is a 3D network in PyTorch too: its kernels of depth 1 have an axis of time.
    deep = {name: value[:, :, None] if value.ndim == 4 else value for name, value in theirs.items()}
    assert found.keys() == theirs.keys()
    for name, tensor in found.items():
        np.testing.assert_array_equal(tensor, 0 * deep[name] if name.endswith("tracked") else deep[name])
    assert found["norm.num_batches_tracked"].dtype == np.int64


def test_the_tensors_of_a_network_without_depth_are_2d():
    initial = {"params": {"flat": {"kernel": np.ones((1, 3, 5, 2, 4), np.float32)}}}
    assert to_torch(initial, {"params/flat/kernel": "conv.weight"})["conv.weight"].shape == (4, 2, 3, 5)


def test_variables_without_a_name_are_refused():
    with pytest.raises(InputError, match=r"PyTorch gives to these variables are not known: params/dense/bias$"):
        to_torch({"params": {"dense": {"bias": np.zeros(7)}}}, {})
