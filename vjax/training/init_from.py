"""Starting from another run's network: what is loaded, and what is initialised again."""

import dataclasses
from typing import Any, Literal

import flax.traverse_util

from vjax.errors import InputError
from vjax.training.layer_rates import lies_in
from vjax.training.shapes import first_difference

# The layer from features to logits, in every network: the only one whose shape depends on the classes.
CLASSIFIER = "head/logits"


@dataclasses.dataclass(frozen=True)
class InitFrom:
    """Where a run's first parameters come from.

    Attributes:
      workdir: work directory of another run; empty for random parameters.
      checkpoint: checkpoint of that run: "newest" or "best".
    """

    workdir: str = ""
    checkpoint: Literal["newest", "best"] = "newest"


def load_pretrained(initial: Any, pretrained: Any, *, same_classes: bool, where: str) -> tuple[Any, tuple[str, ...]]:
    """Returns the variables of a pretrained network, and the names of those that keep their initial values.

    Args:
      initial: `dict(params=..., batch_stats=...)` of the network to train.
      pretrained: the same of the pretrained network.
      same_classes: whether both networks have the same class list; the classifier is reinitialised if they do not.
      where: where the pretrained variables come from, for error messages.

    Raises:
      InputError: the networks differ in more than the classifier.
    """
    wanted, found = _flat(initial), _flat(pretrained)
    reinitialised = tuple(name for name in wanted if not same_classes and lies_in(name.partition("/")[2], CLASSIFIER))
    if differing := first_difference(pretrained, initial, ignored=reinitialised):
        name, there, here = differing
        raise InputError(
            f"config.init: the network of {where} does not fit: {name} has shape {there} there and {here} here; only "
            "the classifier may differ. Use its config.network and, for late concatenation or early fusion, its "
            "config.clip"
        )
    loaded = {name: leaf if name in reinitialised else found[name] for name, leaf in wanted.items()}
    # A network without batch norms has no batch statistics, and flattening drops empty trees.
    return {**initial, **flax.traverse_util.unflatten_dict(loaded, sep="/")}, reinitialised


def _flat(tree: Any) -> dict[str, Any]:
    return flax.traverse_util.flatten_dict(tree, sep="/")
