"""Probes: changes to the views of a video before the network sees them, which show what the network uses.

A probe maps the views `(n t h w c)` of a video and the video's position in its split to views of the same shape.
"""

from collections.abc import Callable

import numpy as np

Probe = Callable[[np.ndarray, int], np.ndarray]


def shuffle_frames(views: np.ndarray, position: int) -> np.ndarray:
    """Returns the views with their frames in one random order, which depends on the position only.

    A network that loses no accuracy by this does not use motion.
    """
    return views[:, np.random.default_rng(position).permutation(views.shape[1])]
