"""Probes: what is done to the views of a video before the network sees them, to find out what it looks at.

A probe maps the views `(n t h w c)` of a video and the video's position in its split to views of the same shape.
"""

from collections.abc import Callable

import numpy as np

Probe = Callable[[np.ndarray, int], np.ndarray]


def shuffle_frames(views: np.ndarray, position: int) -> np.ndarray:
    """Returns the views with their frames in one random order, the same for the same position every time.

    A network that loses nothing by it does not look at motion.
    """
    return views[:, np.random.default_rng(position).permutation(views.shape[1])]
