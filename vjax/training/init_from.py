"""Initial parameters from elsewhere: where they come from, which are loaded, and which are reinitialised."""

import dataclasses
from typing import Any, Literal

import flax.traverse_util

from vjax.errors import InputError
from vjax.training.layer_rates import lies_in
from vjax.training.shapes import first_difference

# The layer from features to logits in every network: the only layer whose shape depends on the number of classes.
CLASSIFIER = "head/logits"


@dataclasses.dataclass(frozen=True)
class InitFrom:
    """Where a run's first parameters come from.

    Attributes:
      weights: work directory of another run; or file of weights of PyTorch's form of the network, or name of published
        weights, such as "torchvision:r3d_18=FILE" (docs/weights.md); empty for random parameters.
      checkpoint: checkpoint of the other run: "newest" or "best".
      preprocessing: "weights" for the clip, test crop and normalization that published weights were trained with, or
        "config" for those of the config.
    """

    weights: str = ""
    checkpoint: Literal["newest", "best"] = "newest"
    preprocessing: Literal["weights", "config"] = "weights"


def load_pretrained(initial: Any, pretrained: Any, *, same_classes: bool, where: str) -> tuple[Any, tuple[str, ...]]:
    """Returns the variables of a pretrained network, and the names of the variables that keep their initial values.

    Args:
      initial: `dict(params=..., batch_stats=...)` of the network to train.
      pretrained: `dict(params=..., batch_stats=...)` of the pretrained network.
      same_classes: whether both networks have the same class list; if not, the classifier is reinitialised.
      where: origin of the pretrained variables, for error messages.

    Raises:
      InputError: the networks differ outside the classifier.
    """
    wanted, found = _flat(initial), _flat(pretrained)
    reinitialised = () if same_classes else tuple(filter(in_classifier, wanted))
    if differing := first_difference(pretrained, initial, ignored=reinitialised):
        name, there, here = differing
        raise InputError(
            f"config.init: the network of {where} does not fit: {name} has shape {there} in that run and {here} in "
            "this one; only the classifier may differ. Use that run's config.network and, for late concatenation or "
            "early fusion, its config.clip"
        )
    loaded = {name: leaf if name in reinitialised else found[name] for name, leaf in wanted.items()}
    # A network without batch norms has no batch statistics, and flattening drops empty trees.
    return {**initial, **flax.traverse_util.unflatten_dict(loaded, sep="/")}, reinitialised


def in_classifier(name: str) -> bool:
    """Returns whether a variable belongs to the classifier.

    >>> in_classifier("params/head/logits/kernel"), in_classifier("params/backbone/Conv_0/kernel")
    (True, False)
    """
    return lies_in(name.partition("/")[2], CLASSIFIER)


def _flat(tree: Any) -> dict[str, Any]:
    return flax.traverse_util.flatten_dict(tree, sep="/")
