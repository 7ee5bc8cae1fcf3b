"""Where and when a network looks: class activation maps over space and time, for every network.

A map belongs to the last features with rows and columns in a network, those before the average or the classifier. It
needs no change of the network: the features are found by watching the calls of its modules.

Source: Selvaraju et al. 2017, "Grad-CAM: Visual explanations from deep networks via gradient-based localization", in
the form of Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural
networks": the gradient is multiplied at each place, not averaged first. Where an average follows the features, both are
the same; where the classifier knows places or frames (late fusion by concatenation), only this form follows it.
"""

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from vjax.errors import InputError
from vjax.ops.clip_input import ClipInput


class ActivationMaps(NamedTuple):
    """Where and when a network looks.

    Attributes:
      places: `(b t h w)`, how much each place of a clip speaks for the class: from 0 to 1, the largest of the clip.
      frames: `(b t)`, share of each frame; they add up to 1, or are all 0 if nothing speaks for the class.
      layers: names of the modules whose features were used.
    """

    places: jax.Array
    frames: jax.Array
    layers: tuple[str, ...]


def activation_maps(
    network: nn.Module, variables: Any, clips: ArrayLike, classes: ArrayLike, *, clip_input: ClipInput
) -> ActivationMaps:
    """Returns the class activation maps of uint8 clips `(b t h w c)`.

    If the features have no time left, as those of early fusion, the shares of frames are those of the input: the
    positive parts of its product with its gradient.

    Args:
      network: network that maps clips to logits `(b v k)`.
      variables: variables of the network.
      clips: uint8 clips `(b t h w c)`.
      classes: class `(b)` of each clip.
      clip_input: conversion of uint8 clips to the input of the network.

    Raises:
      InputError: no module of the network returns features `(b t h w d)` with more than one row or column.
    """
    names: list[str] = []

    def trace(x: jax.Array) -> list[jax.Array]:
        features, _ = _run(network, variables, x, names=names)
        return features

    shapes = [out.shape for out in jax.eval_shape(trace, jax.ShapeDtypeStruct(np.shape(clips), jnp.float32))]
    chosen = _last_features(names, shapes)
    if not chosen:
        raise InputError(
            f"the maps of a network need a module that returns features (b t h w d) or (b*t h w d); "
            f"{type(network).__name__} has none"
        )
    places, frames = _maps(network, chosen, clip_input, variables, clips, classes)
    return ActivationMaps(places, frames, tuple(names[number] for number in chosen))


def _run(
    network: nn.Module,
    variables: Any,
    x: jax.Array,
    *,
    added: Mapping[int, jax.Array] = MappingProxyType({}),
    names: list[str] | None = None,
) -> tuple[list[jax.Array], jax.Array]:
    """Returns what the modules of a network return, if it is `(b t h w d)`, in order of computation; and the logits.

    Frames that are passed as images, `(b*t h w d)`, become clips of one frame.

    Args:
      network: network that maps clips to logits.
      variables: variables of the network.
      x: input `(b t h w c)`.
      added: arrays to add to what modules return, by its number in that order.
      names: list that gets the names of the modules.
    """
    found: list[jax.Array] = []

    def watch(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        out = call(*args, **kwargs)
        if context.method_name != "__call__" or getattr(out, "ndim", 0) not in (4, 5):
            return out
        if out.ndim == 4 and (len(out) % len(x) or len(out) == len(x)):  # its rows are not frames
            return out
        if len(found) in added:
            out = out + added[len(found)].reshape(out.shape)
        # Frames that are passed as images have an axis of one frame.
        found.append(out if out.ndim == 5 else out[:, None])
        if names is not None:
            names.append("/".join(context.module.path))
        return out

    with nn.intercept_methods(watch):
        logits = network.apply(variables, x, train=False)
    assert isinstance(logits, jax.Array)
    return found, logits


def _last_features(names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Returns the numbers of the last features: one, or one for each number of frames (SlowFast has two pathways)."""
    spatial = [number for number, shape in enumerate(shapes) if shape[2] * shape[3] > 1]
    if not spatial:
        return ()
    size = shapes[spatial[-1]][2:4]
    spatial = [number for number in spatial if shapes[number][2:4] == size]
    # What a module inside another one returns also speaks through the outer one.
    outer = [number for number in spatial if not any(names[number].startswith(f"{names[other]}/") for other in spatial)]
    return tuple({shapes[number][:2]: number for number in outer}.values())


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _maps(
    network: nn.Module, chosen: tuple[int, ...], clip_input: ClipInput, variables: Any, clips: Any, classes: Any
) -> tuple[jax.Array, jax.Array]:
    x = clip_input(clips)
    all_features, _ = _run(network, variables, x)
    features = {number: all_features[number] for number in chosen}

    # The gradients of the logit by what is added to the features, and by the input.
    def logit(added: dict[int, jax.Array], x: jax.Array) -> jax.Array:
        _, logits = _run(network, variables, x, added=added)
        return jnp.take_along_axis(logits.mean(1), classes[:, None], axis=1).sum()

    grads, input_grads = jax.grad(logit, argnums=(0, 1))(jax.tree.map(jnp.zeros_like, features), x)

    # The maps, in the size of the clip; each keeps its sum.
    b, t, h, w, _ = x.shape
    total = jnp.zeros((b, t, h, w))
    for number in chosen:
        product = (grads[number] * features[number]).astype(jnp.float32).sum(-1)
        product = product.reshape(b, -1, *product.shape[2:])  # a 2D network passes frames as clips of one frame
        total += jax.image.resize(product, (b, t, h, w), "linear") * (product[0].size / total[0].size)
    total = jax.nn.relu(total)
    by_frame = total.sum((2, 3))
    if all(features[number].shape[:2] == (b, 1) for number in chosen):
        by_frame = jax.nn.relu((input_grads * x).sum(-1)).sum((2, 3))
    return _shares(total, jnp.max, (1, 2, 3)), _shares(by_frame, jnp.sum, (1,))


def _shares(values: jax.Array, of: Any, axes: tuple[int, ...]) -> jax.Array:
    whole = of(values, axis=axes, keepdims=True)
    return jnp.where(whole > 0, values / jnp.where(whole > 0, whole, 1), 0)


def first_features(network: nn.Module, variables: Any, clips: Any, *, clip_input: ClipInput) -> np.ndarray | None:
    """Returns the first layer's output `(t' h' w' d)` for a uint8 clip `(1 t h w c)`; None if it has no rows."""

    @jax.jit
    def run(variables: Any, clips: jax.Array) -> list[jax.Array]:
        features, _ = _run(network, variables, clip_input(clips))
        return features[:1]

    found = run(variables, clips)
    if not found:
        return None
    return np.asarray(found[0]).reshape(-1, *found[0].shape[2:])
