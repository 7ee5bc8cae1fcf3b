"""Which networks tensors fit."""

import functools

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from vjax.models.backbones import SmallBackbone
from vjax.models.card import Card, described
from vjax.models.fusion import SlowFusion
from vjax.spec import Table
from vjax.training import fits
from vjax.training.fits import find_fits

WIDTHS = (4, 6)


def names_of(variables):
    return {name: name.replace("/", ".") for name in flatten_dict(variables, sep="/")}


def tensors(num_classes):
    """The tensors of a small network, with PyTorch's axes."""
    norms = ("params", "scale"), ("params", "bias"), ("batch_stats", "mean"), ("batch_stats", "var")
    shapes = {
        "params.backbone.Conv_0.kernel": (4, 3, 3, 3, 3),
        "params.backbone.Conv_1.kernel": (6, 4, 3, 3, 3),
        "params.head.logits.kernel": (num_classes, 6),
        "params.head.logits.bias": (num_classes,),
    }
    for number, width in enumerate(WIDTHS):
        shapes |= {f"{group}.backbone.BatchNorm_{number}.{leaf}": (width,) for group, leaf in norms}
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


@pytest.fixture(autouse=True)
def _small_zoo(monkeypatch):
    """Two networks that differ in their widths, and no backbone with names."""
    networks = Table({}, given=("num_classes",))
    for name, widths in (("fits", WIDTHS), ("does_not", (4, 8))):
        card = Card(name, "ours", (8, 16, 16), 3, parameters=1000, multiply_adds=1, torch_names=names_of)
        backbone = SmallBackbone(temporal=True, widths=widths)
        networks[name] = described(card)(functools.partial(SlowFusion, backbone=backbone))
    monkeypatch.setattr(fits, "NETWORKS", networks)
    monkeypatch.setattr(fits, "BACKBONES", Table({"small": SmallBackbone}))


@pytest.mark.parametrize("num_classes", [3, 7])
def test_the_classes_are_those_of_the_files_classifier(num_classes):
    (found,) = find_fits(tensors(num_classes) | {"other": np.zeros(2, np.float32)})
    assert (found.name, found.num_classes, found.unused) == ("fits", num_classes, ("other",))


def test_a_file_without_a_classifier_fits_without_one():
    (found,) = find_fits({name: tensor for name, tensor in tensors(3).items() if "head" not in name})
    assert (found.name, found.num_classes, found.unused) == ("fits", None, ())


def test_a_file_that_lacks_a_tensor_fits_nothing():
    assert find_fits({name: tensor for name, tensor in tensors(3).items() if "Conv_1" not in name}) == []


def test_a_network_with_twice_the_numbers_is_not_traced(monkeypatch):
    monkeypatch.setattr(fits, "_fit", lambda candidate, tensors: pytest.fail(candidate.name))
    assert find_fits({"a": np.zeros(400, np.float32)}) == []
