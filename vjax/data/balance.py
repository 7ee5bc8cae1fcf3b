"""Classes of different size: how often each occurs, and what balances them."""

from collections.abc import Sequence

import numpy as np

from vjax.data.video import Source
from vjax.errors import InputError


def positions_by_class(source: Source) -> tuple[tuple[int, ...], ...]:
    """Returns the positions of each class in the training split.

    Raises:
      InputError: the videos are in records, so their labels are not known without reading them.
    """
    if not isinstance(source.train, list):
        raise InputError(
            "config.class_balance needs the labels of all training videos, and those in TFDS records are not known "
            "without reading them; set it to 'none'"
        )
    label = np.array([video.label for video in source.train])
    return tuple(tuple(map(int, np.flatnonzero(label == index))) for index in range(len(source.class_names)))


def class_weights(positions: Sequence[Sequence[int]]) -> tuple[float, ...]:
    """Returns the weight of each class in the loss: all classes together count the same, and the mean video counts 1.

    >>> class_weights([[0, 1, 2], [3]])
    (0.6666666666666666, 2.0)
    """
    sizes = [len(found) for found in positions]
    return tuple(sum(sizes) / (len(sizes) * size) for size in sizes)
