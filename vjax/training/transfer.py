"""Training on from another run's network: what is taken from it, and how fast each layer goes on learning."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Literal

import flax.traverse_util
import jax
import optax

from vjax.errors import InputError

# What maps features to votes, in every network: the only part that depends on the classes.
CLASSIFIER = "head/logits"

_NUMBER = re.compile(r"\d*\.?\d+(e-?\d+)?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a run's first network comes from.

    Attributes:
      workdir: work directory of another run; empty for a fresh network.
      checkpoint: checkpoint of that run: "newest" or "best".
    """

    workdir: str = ""
    checkpoint: Literal["newest", "best"] = "newest"


def take_over(fresh: Any, trained: Any, *, same_classes: bool, where: str) -> tuple[Any, tuple[str, ...]]:
    """Returns the variables of a trained network, and the names of those that stay fresh.

    Args:
      fresh: `dict(params=..., batch_stats=...)` of the network to train.
      trained: the same of the trained one.
      same_classes: whether both have the same class list; the classifier stays fresh where they have not.
      where: the trained one comes from, for error messages.

    Raises:
      InputError: another part of the networks differs.
    """
    wanted, found = _flat(fresh), _flat(trained)
    stay = tuple(name for name in wanted if not same_classes and _lies_in(name.partition("/")[2], CLASSIFIER))
    for name in sorted((wanted.keys() | found.keys()) - set(stay)):
        shapes = [getattr(tree.get(name), "shape", None) for tree in (found, wanted)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"config.init: the network of {where} does not fit: {name} has shape {shapes[0]} there and {shapes[1]} "
                "here; only the classifier may differ. Use its config.network and, for late concatenation or early "
                "fusion, its config.clip"
            )
    taken = {name: leaf if name in stay else found[name] for name, leaf in wanted.items()}
    # A network without batch norms has no batch statistics, which flattening loses.
    return {**fresh, **flax.traverse_util.unflatten_dict(taken, sep="/")}, stay


@dataclasses.dataclass(frozen=True)
class LayerRates:
    """Factors on the learning rate by layer; 0 freezes it.

    Frozen parameters stay bit for bit as they are, and no gradient is computed for them. Batch norms go on following
    the statistics of the data, in frozen layers too.

    Attributes:
      factors: of the parameters whose path begins with a name; the longest such name counts, 1 without any.

    >>> rates = LayerRates.parse("trunk=0.1, trunk/Conv_0=0")
    >>> rates.of({"trunk": {"Conv_0": {"kernel": 5}, "Conv_1": {"kernel": 5}}, "head": {"bias": 5}})
    {'trunk': {'Conv_0': {'kernel': 0.0}, 'Conv_1': {'kernel': 0.1}}, 'head': {'bias': 1.0}}
    """

    factors: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "LayerRates":
        """Returns the rates of a text such as "trunk=0.1,trunk/Conv_0=0"; raises an InputError where it is none."""
        factors = {}
        for part in text.split(",") if text.strip() else []:
            name, _, factor = (piece.strip() for piece in part.partition("="))
            if not name or not _NUMBER.fullmatch(factor):
                raise InputError(
                    "config.layer_rates is a text such as 'trunk=0.1,trunk/Conv_0=0', with factors of 0 or more; "
                    f"{part.strip()!r} is not understood"
                )
            factors[name] = float(factor)
        return cls(factors)

    def check(self, params: Any) -> None:
        """Raises an InputError where a name fits no parameter."""
        names = _flat(params)
        for layer in self.factors:
            if not any(_lies_in(name, layer) for name in names):
                layers = sorted({name.rpartition("/")[0] for name in names})
                raise InputError(
                    f"config.layer_rates: the network has no parameters in {layer!r}. Its layers: {', '.join(layers)}"
                )

    def of(self, params: Any) -> Any:
        """Returns the factor of every parameter."""
        factors = {name: self._factor(name) for name in _flat(params)}
        return flax.traverse_util.unflatten_dict(factors, sep="/")

    def _factor(self, name: str) -> float:
        layers = [layer for layer in self.factors if _lies_in(name, layer)]
        return self.factors[max(layers, key=len)] if layers else 1.0

    def freeze(self, params: Any) -> Any:
        """Returns the parameters without gradients for those that are frozen."""
        return jax.tree.map(
            lambda leaf, factor: leaf if factor else jax.lax.stop_gradient(leaf), params, self.of(params)
        )

    def apply_to(self, optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
        """Returns an optimizer whose updates are multiplied by the factors; it keeps no state for frozen parameters."""
        if 0 in self.factors.values():
            optimizer = optax.masked(optimizer, lambda tree: jax.tree.map(bool, self.of(tree)))
        scale = optax.stateless(
            lambda updates, _: jax.tree.map(lambda update, factor: update * factor, updates, self.of(updates))
        )
        return optax.chain(optimizer, scale)


EQUAL_RATES = LayerRates()


def _flat(tree: Any) -> dict[str, Any]:
    return flax.traverse_util.flatten_dict(tree, sep="/")


def _lies_in(name: str, layer: str) -> bool:
    return f"{name}/".startswith(f"{layer}/")
