"""Comparison of two networks by the shapes of their arrays."""

from collections.abc import Collection
from typing import Any, NamedTuple

import flax.traverse_util


class Difference(NamedTuple):
    """An array whose shape differs between two trees.

    Attributes:
      name: path of the array, such as "backbone/Conv_0/kernel".
      there: shape in the first tree, None if the array is missing there.
      here: shape in the second tree, None if the array is missing there.
    """

    name: str
    there: tuple[int, ...] | None
    here: tuple[int, ...] | None


def first_difference(there: Any, here: Any, *, ignored: Collection[str] = ()) -> Difference | None:
    """Returns the first array, by name, whose shape differs between two trees; None if all shapes are equal.

    Args:
      there: first tree of arrays or shapes.
      here: second tree of arrays or shapes.
      ignored: names of arrays whose shapes may differ.

    >>> import numpy as np
    >>> first_difference({"head": {"bias": np.zeros(3)}}, {"head": {"bias": np.zeros(5)}})
    Difference(name='head/bias', there=(3,), here=(5,))
    """
    shapes_there, shapes_here = _shapes(there), _shapes(here)
    for name in sorted((shapes_there.keys() | shapes_here.keys()) - set(ignored)):
        if shapes_there.get(name) != shapes_here.get(name):
            return Difference(name, shapes_there.get(name), shapes_here.get(name))
    return None


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    flat: Any = flax.traverse_util.flatten_dict(tree, sep="/")
    return {name: tuple(leaf.shape) for name, leaf in flat.items()}
