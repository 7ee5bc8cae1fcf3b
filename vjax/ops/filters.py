"""Temporal filters: they separate the moving parts of a video from the still parts, and show motion over time.

Pure numpy functions on `(*b t h w c)`, uint8 or float. The result has the input's dtype; a mask is bool.
"""

import numpy as np
from scipy import ndimage

from vjax.errors import InputError


def xt_slice(frames: np.ndarray, *, row: int) -> np.ndarray:
    """Returns one row of every frame, `(*b t w c)`: time runs down, and sideways motion is a slanted line."""
    _check_index(row, frames.shape[-3], "row")
    return frames[..., row, :, :]


def yt_slice(frames: np.ndarray, *, column: int) -> np.ndarray:
    """Returns one column of every frame, `(*b h t c)`: time runs to the right."""
    _check_index(column, frames.shape[-2], "column")
    return np.swapaxes(frames[..., column, :], -3, -2)


def median_background(frames: np.ndarray) -> np.ndarray:
    """Returns the median over all frames, `(*b h w c)`: the background without moving objects.

    For an even number of frames it is the mean of the two middle values, rounded for integer dtypes.
    """
    return _median(frames, axis=-4)


def median_filter(frames: np.ndarray, *, window: int) -> np.ndarray:
    """Returns the running median over time, `(*b t h w c)`; it removes what is at a place for under half a window.

    Args:
      frames: video `(*b t h w c)`.
      window: number of frames in each median, odd. The first and the last frame are repeated beyond the ends, as
        `scipy.ndimage.median_filter` does with mode="nearest".

    Raises:
      InputError: the window is not a positive odd number.
    """
    if window < 1 or window % 2 == 0:
        raise InputError(f"the median's window must be an odd number of frames, got {window}")
    num_frames, half = frames.shape[-4], window // 2
    # Frame by frame: all windows at once would take `window` times the video's memory.
    filtered = []
    for index in range(num_frames):
        around = np.clip(np.arange(index - half, index + half + 1), 0, num_frames - 1)
        filtered.append(_median(frames.take(around, axis=-4), axis=-4))
    return np.stack(filtered, axis=-4)


def foreground_mask(
    frames: np.ndarray, *, background: np.ndarray | None = None, threshold: float = 30.0, opening: int = 0
) -> np.ndarray:
    """Returns a mask, bool `(*b t h w)`, that is True where a video differs from its background.

    Args:
      frames: video `(*b t h w c)`.
      background: background `(*b h w c)`; if not given, the median over all frames.
      threshold: largest difference of a background pixel, in the units of `frames`; a pixel is foreground if any
        channel differs by more.
      opening: width in pixels; a binary opening (`scipy.ndimage`) removes narrower foreground. 0 and 1 remove nothing.
    """
    if background is None:
        background = median_background(frames)
    difference = np.abs(frames.astype(np.float32) - background[..., None, :, :, :].astype(np.float32))
    mask = difference.max(axis=-1) > threshold
    if opening > 1:
        structure = np.ones((1,) * (mask.ndim - 2) + (opening, opening), bool)
        mask = ndimage.binary_opening(mask, structure)
    return mask


def _median(frames: np.ndarray, *, axis: int) -> np.ndarray:
    median = np.median(frames, axis=axis)
    if np.issubdtype(frames.dtype, np.integer):
        median = np.rint(median)
    return median.astype(frames.dtype)


def _check_index(index: int, size: int, what: str) -> None:
    if not 0 <= index < size:
        raise InputError(f"{what} {index} lies outside the frame; it has {what}s 0 to {size - 1}")
