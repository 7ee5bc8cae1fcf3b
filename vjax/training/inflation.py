"""Inflation: the kernels of a 2D network for its 3D counterpart.

Source: Carreira and Zisserman 2017, "Quo vadis, action recognition? A new model and the Kinetics dataset", I3D,
section 2.4.
"""

from typing import Any

import jax.numpy as jnp


def is_inflatable(name: str, there: tuple[int, ...], here: tuple[int, ...]) -> bool:
    """Returns whether a variable is a kernel of depth 1 that is wanted deeper.

    >>> is_inflatable("params/Conv_0/kernel", (1, 3, 3, 8, 16), (3, 3, 3, 8, 16))
    True
    """
    return name.endswith("/kernel") and len(there) == len(here) == 5 and there[0] == 1 and there[1:] == here[1:]


def inflate(kernel: Any, *, num_taps: int) -> Any:
    """Returns a kernel `(1 kh kw i o)` as `(num_taps kh kw i o)`; each temporal tap is the kernel / num_taps.

    The 3D network gives for a video of one repeated frame what the 2D network gives for the frame. Near the first and
    the last frames it does not: there some taps see the zeros beyond the video, so that the features are smaller.
    """
    return jnp.repeat(jnp.asarray(kernel) / num_taps, num_taps, axis=0)
