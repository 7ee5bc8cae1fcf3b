"""Factors on the learning rate for each layer; 0 freezes a layer."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax
import optax

from vjax.errors import InputError
from vjax.models.cost import parameters_by_layer

_NUMBER = re.compile(r"\d*\.?\d+(e-?\d+)?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class LayerRates:
    """Factors on the learning rate by layer; 0 freezes a layer.

    Frozen parameters stay bitwise equal, and XLA computes no gradient for them. Batch norms in frozen layers still
    update their running statistics: those are no parameters, and config.freeze_norms decides about them.

    Attributes:
      factors: factor for each layer name. It applies to all parameters whose path begins with the name; if several
        names match, the longest one counts. All other parameters have factor 1.

    >>> rates = LayerRates.parse("backbone=0.1, backbone/Conv_0=0")
    >>> rates.of({"backbone": {"Conv_0": {"kernel": 5}, "Conv_1": {"kernel": 5}}, "head": {"bias": 5}})
    {'backbone': {'Conv_0': {'kernel': 0.0}, 'Conv_1': {'kernel': 0.1}}, 'head': {'bias': 1.0}}
    """

    factors: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "LayerRates":
        """Parses a text such as "backbone=0.1,backbone/Conv_0=0"; raises an InputError for any other text."""
        factors = {}
        for part in text.split(",") if text.strip() else []:
            name, _, factor = (piece.strip() for piece in part.partition("="))
            if not name or not _NUMBER.fullmatch(factor):
                raise InputError(
                    "config.layer_rates is a text such as 'backbone=0.1,backbone/Conv_0=0', with factors of 0 or more; "
                    f"{part.strip()!r} is not understood"
                )
            factors[name] = float(factor)
        return cls(factors)

    def check(self, params: Any) -> None:
        """Raises an InputError if a layer name matches no parameter, or if every parameter is frozen."""
        names = flax.traverse_util.flatten_dict(params, sep="/")
        for layer in self.factors:
            if not any(lies_in(name, layer) for name in names):
                raise InputError(
                    f"config.layer_rates: the network has no parameters in {layer!r}. Its layers: "
                    f"{', '.join(parameters_by_layer(params))}"
                )
        if not any(map(self._factor, names)):
            raise InputError(
                "config.layer_rates: all layers of the network have the factor 0, so nothing would learn; leave out a "
                "layer, such as head"
            )

    def of(self, params: Any) -> Any:
        """Returns the factor of every parameter."""
        factors = {name: self._factor(name) for name in flax.traverse_util.flatten_dict(params, sep="/")}
        return flax.traverse_util.unflatten_dict(factors, sep="/")

    def _factor(self, name: str) -> float:
        layers = [layer for layer in self.factors if lies_in(name, layer)]
        return self.factors[max(layers, key=len)] if layers else 1.0

    def freeze(self, params: Any) -> Any:
        """Returns the same parameters; gradients stop at the frozen ones."""
        return jax.tree.map(
            lambda leaf, factor: leaf if factor else jax.lax.stop_gradient(leaf), params, self.of(params)
        )

    def apply_to(self, optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
        """Returns an optimizer whose updates are scaled by the factors; it keeps no state for frozen parameters."""
        if 0 in self.factors.values():
            optimizer = optax.masked(optimizer, lambda tree: jax.tree.map(bool, self.of(tree)))
        scale = optax.stateless(
            lambda updates, _: jax.tree.map(lambda update, factor: update * factor, updates, self.of(updates))
        )
        return optax.chain(optimizer, scale)


EQUAL_RATES = LayerRates()


def lies_in(name: str, layer: str) -> bool:
    """Returns whether a parameter's path, such as "backbone/Conv_0/kernel", begins with the name of a layer."""
    return f"{name}/".startswith(f"{layer}/")
