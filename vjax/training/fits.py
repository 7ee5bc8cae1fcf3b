"""Which networks a file of weights fits, by the names and shapes of its tensors."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vjax.errors import InputError
from vjax.models import NETWORKS
from vjax.models.backbones import BACKBONES
from vjax.models.card import TorchNames, card_of
from vjax.training.convert import convert
from vjax.training.init_from import in_classifier


@dataclasses.dataclass(frozen=True)
class Fit:
    """A network that tensors fit.

    Attributes:
      name: name of the network, or "the backbone NAME in 2D" or "in 3D".
      num_classes: number of classes of the tensors' classifier; None if they have none for this network.
      unused: names of the tensors that the network does not take.
      num_inflated: number of 2D kernels that would be inflated for a 3D network.
    """

    name: str
    num_classes: int | None
    unused: tuple[str, ...]
    num_inflated: int = 0


def find_fits(tensors: Mapping[str, np.ndarray]) -> list[Fit]:
    """Returns the networks and backbones, with default options, that tensors of PyTorch fit; best first.

    Only networks and backbones with names in PyTorch on their card can fit. Nothing is computed: shapes are traced,
    which takes about a second for each. Networks with more than twice as many parameters as there are numbers in the
    tensors are left out at once: tensors may lack a classifier, but no classifier has half of a network's parameters.
    """
    size = sum(tensor.size for tensor in tensors.values())
    fits = [_fit(candidate, tensors) for candidate in _candidates(at_most=2 * size)]
    return sorted((fit for fit in fits if fit is not None), key=lambda fit: (fit.num_inflated, len(fit.unused)))


class _Candidate(NamedTuple):
    name: str
    network: nn.Module
    clip: tuple[int, int, int]
    names: TorchNames


def _candidates(*, at_most: int) -> Iterator[_Candidate]:
    """Yields the networks and backbones that have names in PyTorch, and up to a number of parameters."""
    for name, factory in NETWORKS.items():
        card = card_of(factory)
        if card is not None and card.torch_names is not None and card.parameters <= at_most:
            yield _Candidate(name, factory(card.num_classes), card.clip, card.torch_names)
    for name, factory in BACKBONES.items():
        card = card_of(factory)
        if card is not None and card.torch_names is not None and card.parameters <= at_most:
            for axes, num_frames in ((2, 1), (3, 16)):
                clip = (num_frames, *card.clip[1:])
                yield _Candidate(f"the backbone {name} in {axes}D", factory(temporal=axes == 3), clip, card.torch_names)


def _fit(candidate: _Candidate, tensors: Mapping[str, np.ndarray]) -> Fit | None:
    name, network, clip, names = candidate
    clips = jax.ShapeDtypeStruct((1, *clip, 3), "float32")
    variables: Any = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), clips)
    ours = names(variables)
    # The classifier's number of classes is that of the file.
    flat: dict[str, Any] = flatten_dict(variables, sep="/")
    classifier = [variable for variable in flat if in_classifier(variable) and ours.get(variable) in tensors]
    sizes = {tensors[ours[variable]].shape[0] for variable in classifier if tensors[ours[variable]].ndim}
    num_classes = sizes.pop() if len(sizes) == 1 else None
    if num_classes is not None:
        for variable in classifier:
            flat[variable] = jax.ShapeDtypeStruct((*flat[variable].shape[:-1], num_classes), flat[variable].dtype)
    try:
        found = convert(unflatten_dict(flat, sep="/"), tensors, ours, where=name)
    except InputError:
        return None
    has_classifier = num_classes is not None and not any(map(in_classifier, found.reinitialised))
    return Fit(name, num_classes if has_classifier else None, found.unused, len(found.inflated))
