"""Metrics as totals and weights, divided only at the end, so that no batch size changes a metric."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


class Sum(NamedTuple):
    """A total and its weight."""

    total: float | np.ndarray | jax.Array
    weight: float | np.ndarray | jax.Array


def masked_sum(values: ArrayLike, mask: ArrayLike | None = None) -> Sum:
    """Returns the masked sum and count; masked-out values are ignored even if NaN."""
    values = jnp.asarray(values, jnp.float32)
    weights = jnp.ones_like(values) if mask is None else jnp.broadcast_to(mask, values.shape).astype(jnp.float32)
    return Sum(jnp.where(weights > 0, values, 0).sum(), weights.sum())


def add(left: Mapping[str, Sum], right: Mapping[str, Sum]) -> dict[str, Sum]:
    """Adds the sums of two parts of the data, in float64, because float32 is exact only to 2 ** 24."""
    return {
        name: Sum(*(np.add(*parts, dtype=np.float64) for parts in zip(left[name], right[name], strict=True)))
        for name in left
    }


def means(sums: Mapping[str, Sum]) -> dict[str, float]:
    """Returns total divided by weight, by name; NaN if the weight is 0."""
    return {
        name: float(part.total) / float(part.weight) if float(part.weight) else float("nan")
        for name, part in sums.items()
    }


def top_k_correct(probs: Any, label: Any, *, k: int) -> Any:
    """Returns whether the label is among the k most probable classes, for probs `(*b c)` and label `(*b)`.

    All accuracies use this rule, for arrays of NumPy and of JAX. A class that is exactly as probable as the label is
    ranked before it, and so is a class whose probability is NaN. So a network that gives the same probability to every
    class, or NaN, is never correct if there are more than k classes.
    """
    arrays = probs.__array_namespace__()
    of_label = arrays.take_along_axis(probs, label[..., None], axis=-1)
    return (~(probs < of_label)).sum(axis=-1) <= k


def predicted_class(probs: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Returns the predicted class of each row of probs `(*b c)`, with ties resolved as in `top_k_correct`.

    If the label and another class have the same, highest probability, that other class is predicted.
    """
    others = np.where(np.arange(probs.shape[-1]) == label[..., None], -np.inf, np.nan_to_num(probs, nan=-1.0))
    return np.where(top_k_correct(probs, label, k=1), label, others.argmax(axis=-1))


def confusion_matrix(label: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns counts `(k k)`: rows are labels, columns are predictions."""
    matrix = np.zeros((num_classes, num_classes), int)
    np.add.at(matrix, (label, prediction), 1)
    return matrix
