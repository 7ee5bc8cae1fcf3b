"""Checks of the fields of networks and of the sizes of their clips."""

from collections.abc import Sequence

import jax

from vjax.errors import InputError


def check_widths(widths: Sequence[int], *, what: str) -> None:
    """Raises an InputError if a network has no stages or a stage has no channels."""
    if not widths or min(widths) < 1:
        raise InputError(
            f"{what} needs a width of 1 or more for each of its stages, and one stage or more; got {widths}"
        )


def check_rate(rate: float, *, what: str) -> None:
    """Raises an InputError if a dropout or drop-path rate is not in [0, 1)."""
    if not 0 <= rate < 1:
        raise InputError(f"{what} is a probability from 0 to below 1, got {rate}")


def check_size(x: jax.Array, *, min_frames: int, min_size: int, what: str) -> None:
    """Raises an InputError if clips `(b t h w c)` have too few frames or too small frames for a network."""
    num_frames, height, width = x.shape[1:4]
    if num_frames < min_frames:
        raise InputError(f"{what} needs clips of at least {min_frames} frames, got {num_frames}")
    if min(height, width) < min_size:
        raise InputError(f"{what} needs frames of at least {min_size} x {min_size}, got {height} x {width}")
