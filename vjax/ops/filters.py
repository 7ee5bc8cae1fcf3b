"""Temporal filters: they separate the moving parts of a video from the still parts, and show motion over time.

Pure numpy functions on `(*b t h w c)`, uint8 or float. The result has the input's dtype; a mask is bool. The
`streamed_` functions give the same result for a stream of frames `(h w c)`, of which they hold only a part in memory.
"""

import collections
import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from vjax.errors import InputError


def xt_slice(frames: np.ndarray, *, row: int) -> np.ndarray:
    """Returns one row of every frame, `(*b t w c)`: time runs down, and sideways motion is a slanted line."""
    _check_index(row, frames.shape[-3], "row")
    return frames[..., row, :, :]


def yt_slice(frames: np.ndarray, *, column: int) -> np.ndarray:
    """Returns one column of every frame, `(*b h t c)`: time runs to the right."""
    _check_index(column, frames.shape[-2], "column")
    return np.swapaxes(frames[..., column, :], -3, -2)


def streamed_xt_slice(frames: Iterable[np.ndarray], *, row: int) -> np.ndarray:
    """Returns the `xt_slice` of a stream, `(t w c)`; only one row of every frame is in memory."""
    return _gather(xt_slice(frame[None], row=row)[0] for frame in frames)


def streamed_yt_slice(frames: Iterable[np.ndarray], *, column: int) -> np.ndarray:
    """Returns the `yt_slice` of a stream, `(h t c)`; only one column of every frame is in memory."""
    return np.swapaxes(_gather(yt_slice(frame[None], column=column)[:, 0] for frame in frames), 0, 1)


def _gather(parts: Iterable[np.ndarray]) -> np.ndarray:
    """Returns equally large parts of frames, one or more, in one array."""
    parts = iter(parts)
    first = next(parts)
    # A copy of each part on its own would be put between frames, and break up the memory that the next frame needs.
    return np.fromiter(itertools.chain([first], parts), np.dtype((first.dtype, first.shape)))


def median_background(frames: np.ndarray) -> np.ndarray:
    """Returns the median over all frames, `(*b h w c)`: the background without moving objects.

    For an even number of frames it is the mean of the two middle values, rounded for integer dtypes.
    """
    # Row by row: `np.median` copies what it gets.
    return np.stack([_median(frames[..., row, :, :], axis=-3) for row in range(frames.shape[-3])], axis=-3)


def median_filter(frames: np.ndarray, *, window: int) -> np.ndarray:
    """Returns the running median over time, `(*b t h w c)`; it removes what is at a place for under half a window.

    Args:
      frames: video `(*b t h w c)`.
      window: number of frames in each median, odd. The first and the last frame are repeated beyond the ends, as
        `scipy.ndimage.median_filter` does with mode="nearest".

    Raises:
      InputError: the window is not a positive odd number.
    """
    filtered = streamed_median_filter(np.moveaxis(frames, -4, 0), window=window)
    return np.stack(list(filtered), axis=-4)


def streamed_median_filter(frames: Iterable[np.ndarray], *, window: int) -> Iterator[np.ndarray]:
    """Yields the frames of the `median_filter` of a stream; `window` frames are in memory.

    Raises:
      InputError: the window is not a positive odd number.
    """
    if window < 1 or window % 2 == 0:
        raise InputError(f"the median's window must be an odd number of frames, got {window}")
    return _running_median(_repeat_ends(frames, window // 2), window)


def _repeat_ends(frames: Iterable[np.ndarray], times: int) -> Iterator[np.ndarray]:
    """Yields a stream with its first and its last frame repeated."""
    frame = None
    for index, frame in enumerate(frames):
        yield from itertools.repeat(frame, times + 1 if index == 0 else 1)
    if frame is not None:
        yield from itertools.repeat(frame, times)


def _running_median(frames: Iterable[np.ndarray], window: int) -> Iterator[np.ndarray]:
    """Yields the median of every `window` frames in a row."""
    latest = collections.deque(maxlen=window)
    for frame in frames:
        latest.append(frame)
        if len(latest) == window:
            yield _median(np.stack(latest), axis=0)


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
        from scipy import ndimage  # imported here, because all commands but `filter` start faster without it

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
