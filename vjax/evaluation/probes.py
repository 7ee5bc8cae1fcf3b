"""Probes: changes to the views of a video before the network sees them, which show what the network uses.

A probe maps the views `(n t h w c)` of a video and the video's position in its split to views of the same shape.
"""

from collections.abc import Callable

import numpy as np

Probe = Callable[[np.ndarray, int], np.ndarray]


def shuffle_frames(views: np.ndarray, position: int) -> np.ndarray:
    """Returns the views with their frames in one random order, which depends on the position only.

    A network that loses no accuracy by this does not use the order of the frames.
    """
    return views[:, np.random.default_rng(position).permutation(views.shape[1])]


def reverse_frames(views: np.ndarray, position: int) -> np.ndarray:
    """Returns the views with their frames backwards.

    A network that loses no accuracy by this does not use the direction of time.
    """
    return views[:, ::-1]


def freeze_frames(views: np.ndarray, position: int) -> np.ndarray:
    """Returns the views with their middle frame in place of every frame.

    A network that loses no accuracy by this needs only a picture.
    """
    middle = views.shape[1] // 2
    return np.repeat(views[:, middle : middle + 1], views.shape[1], axis=1)


def thin_frames(views: np.ndarray, position: int) -> np.ndarray:
    """Returns the views with each second frame replaced by the frame before it.

    A network that loses no accuracy by this needs only half of the frame rate.
    """
    return views[:, np.arange(views.shape[1]) // 2 * 2]


# The probes of `vjax evaluate --probes`, by the name of what is done to the frames.
PROBES: dict[str, Probe] = {
    "shuffled": shuffle_frames,
    "reversed": reverse_frames,
    "frozen": freeze_frames,
    "thinned": thin_frames,
}
