"""Initial parameters from elsewhere: where they come from, which are loaded, and which are reinitialised."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import flax.traverse_util

from vjax.errors import InputError
from vjax.models.fusion import CLASSIFIER
from vjax.training.inflation import inflate, is_inflatable
from vjax.training.layer_rates import lies_in


@dataclasses.dataclass(frozen=True)
class InitFrom:
    """Where a run's first parameters come from.

    Attributes:
      weights: work directory of another run, file of weights of PyTorch's form of the network, or name of published
        weights such as "torchvision:r3d_18=FILE" (docs/weights.md); empty for random parameters.
      checkpoint: checkpoint of the other run: "newest" or "best".
      preprocessing: "weights" for the clip, test crop and normalization on the card of published weights, or "config"
        for those of the config.
    """

    weights: str = ""
    checkpoint: Literal["newest", "best"] = "newest"
    preprocessing: Literal["weights", "config"] = "weights"


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Variables of a network with the values of a pretrained one.

    Attributes:
      variables: `dict(params=..., batch_stats=...)`.
      reinitialised: names of the variables that keep their initial values.
      inflated: names of the kernels that were inflated from 2D to 3D.
      unused: names of the pretrained variables that nothing takes.
    """

    variables: Any
    reinitialised: tuple[str, ...]
    inflated: tuple[str, ...]
    unused: tuple[str, ...]


def load_pretrained(
    initial: Any,
    pretrained: Any,
    *,
    same_classes: bool,
    where: str,
    labels: Mapping[str, str] | None = None,
) -> Loaded:
    """Returns the variables of a pretrained network for another network, which may differ in its head and in time.

    The classifier keeps its initial values if the classes, its shape or the parts of the networks differ. So does a
    part of the network that the pretrained one lacks, such as the hidden layer of late concatenation. Kernels of a 2D
    network are inflated for a 3D one.

    Args:
      initial: `dict(params=..., batch_stats=...)` of the network to train, as arrays or as shapes.
      pretrained: `dict(params=..., batch_stats=...)` of the pretrained network.
      same_classes: whether both networks have the same class list.
      where: origin of the pretrained variables, for error messages.
      labels: name and shape of pretrained variables, for error messages; None for those in `pretrained`.

    Raises:
      InputError: the networks differ in a part that both have, or no part is in both.
    """
    # Leave out the parts that only one network has, and a classifier for other classes or behind other features.
    wanted, found = flat(initial), flat(pretrained)
    both = wanted | found
    shared = _parts(wanted) & _parts(found)
    if not shared:
        there, here = (", ".join(sorted(_parts(tree))) or "nothing" for tree in (found, wanted))
        raise InputError(f"{where} does not fit this network: {there} there, {here} here")
    skipped = {name for name in both if _part(name) not in shared}
    logits = list(filter(in_classifier, both))
    # A hidden layer that only one network has may give as many features as the other network; they are other features.
    same_parts = _parts(wanted) == _parts(found)
    if not (same_classes and same_parts) or any(_shape(found, name) != _shape(wanted, name) for name in logits):
        skipped.update(logits)

    # Load the rest, and inflate kernels where the network to train is deeper in time.
    loaded, inflated = dict(wanted), []
    for name in sorted(both.keys() - skipped):
        there, here = _shape(found, name), _shape(wanted, name)
        if there == here:
            loaded[name] = found[name]
        elif there and here and is_inflatable(name, there, here):
            loaded[name] = inflate(found[name], num_taps=here[0])
            inflated.append(name)
        else:
            label = labels[name] if labels and there else f"{name} {there}"
            raise InputError(
                f"{where} does not fit this network: {label} there, {name} {here} here; only the classifier and the "
                "depth of a 2D kernel may differ. Use that network's config.network and, for late concatenation or "
                "early fusion, its config.clip"
            )
    return Loaded(
        unflat(loaded, like=initial),
        reinitialised=tuple(sorted(skipped & wanted.keys())),
        inflated=tuple(inflated),
        unused=tuple(sorted(skipped & found.keys())),
    )


def in_classifier(name: str) -> bool:
    """Returns whether a variable belongs to the classifier.

    >>> in_classifier("params/head/logits/kernel"), in_classifier("params/backbone/Conv_0/kernel")
    (True, False)
    """
    return lies_in(name.partition("/")[2], CLASSIFIER)


def flat(variables: Any) -> dict[str, Any]:
    """Returns variables by their path, such as "params/head/logits/bias"."""
    return flax.traverse_util.flatten_dict(variables, sep="/")


def unflat(by_path: Mapping[str, Any], *, like: Any) -> Any:
    """Returns variables as a tree; flattening has dropped the collections that are empty in `like`."""
    return {**like, **flax.traverse_util.unflatten_dict(dict(by_path), sep="/")}


def _shape(by_path: Mapping[str, Any], name: str) -> tuple[int, ...] | None:
    return tuple(by_path[name].shape) if name in by_path else None


def _part(name: str) -> str:
    """Returns the part of the network that a variable lies in: "backbone" of "params/backbone/Conv_0/kernel"."""
    return name.split("/")[1]


def _parts(names: Iterable[str]) -> set[str]:
    return {_part(name) for name in names}
