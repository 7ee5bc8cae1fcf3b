"""Sums before means: metrics are totals and weights until the end, so that no batch size changes a number."""

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
    """Returns the sum of values and of what they weigh; a false mask takes a value out, whatever it is."""
    values = jnp.asarray(values, jnp.float32)
    weights = jnp.ones_like(values) if mask is None else jnp.broadcast_to(mask, values.shape).astype(jnp.float32)
    return Sum(jnp.where(weights > 0, values, 0).sum(), weights.sum())


def add(left: Mapping[str, Sum], right: Mapping[str, Sum]) -> dict[str, Sum]:
    """Returns the sums of two parts of the data as those of the whole, in float64: float32 counts to 2 ** 24."""
    return {
        name: Sum(*(np.add(*parts, dtype=np.float64) for parts in zip(left[name], right[name], strict=True)))
        for name in left
    }


def means(sums: Mapping[str, Sum]) -> dict[str, float]:
    """Returns total over weight, by name; NaN where nothing was weighed."""
    return {
        name: float(part.total) / float(part.weight) if float(part.weight) else float("nan")
        for name, part in sums.items()
    }


def top_k_correct(probs: Any, label: Any, *, k: int) -> Any:
    """Returns whether the label is among the k most probable classes, for probs `(*b c)` and label `(*b)`.

    This is the one rule for "right", for arrays of NumPy and of JAX. A class that is exactly as probable as the label
    counts before it, and so does one whose probability is NaN: a network that says the same of every class, or NaN, is
    right about nothing.
    """
    arrays = probs.__array_namespace__()
    of_label = arrays.take_along_axis(probs, label[..., None], axis=-1)
    return (~(probs < of_label)).sum(axis=-1) <= k


def predicted_class(probs: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Returns the class that each row of probs `(*b c)` stands for: the label where it is right, else another one.

    Where the label is only as probable as another class, the answer is that other class, as in `top_k_correct`.
    """
    others = np.where(np.arange(probs.shape[-1]) == label[..., None], -np.inf, np.nan_to_num(probs, nan=-1.0))
    return np.where(top_k_correct(probs, label, k=1), label, others.argmax(axis=-1))


def confusion_matrix(label: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns counts `(k k)`: row is the label, column the prediction."""
    matrix = np.zeros((num_classes, num_classes), int)
    np.add.at(matrix, (label, prediction), 1)
    return matrix
