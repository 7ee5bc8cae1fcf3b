"""The geometry of frames: crop boxes, resizing and flipping; and the conversion from uint8 to float.

The host crops and resizes uint8 frames and treats all frames of a clip alike; `to_float` runs on the device, inside
the jitted step.
"""

import math
from collections.abc import Sequence

import chex
import cv2
import jax
import jax.numpy as jnp
import numpy as np

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels


def as_size(size: int | Sequence[int]) -> tuple[int, int]:
    """Returns `(h, w)`; a single number means a square."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def random_box(
    rng: np.random.Generator,
    *,
    height: int,
    width: int,
    aspect: float,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Box:
    """Returns a random box inside a frame, for a random resized crop.

    Args:
      rng: generator; exactly four random numbers are drawn in every case.
      height: height of the frame, in pixels.
      width: width of the frame, in pixels.
      aspect: width / height of the output that the box will be resized to.
      scale: lowest and highest area of the box, as a share of the largest box of that aspect that fits the frame.
      ratio: lowest and highest factor on the box's aspect, drawn log-uniform; (1, 1) keeps the aspect.

    Source: Szegedy et al. 2015, "Going deeper with convolutions", section 6. Deviations: the area is a share of the
    largest box that fits, not of the frame; a box that does not fit is shrunk, not drawn again, so that every clip
    uses the same number of draws.
    """
    share, log_ratio, x, y = rng.random(4)
    box_aspect = aspect * ratio[0] * (ratio[1] / ratio[0]) ** log_ratio
    full = largest_box(height=height, width=width, aspect=aspect)
    box_area = (full[2] - full[0]) * (full[3] - full[1]) * (scale[0] + share * (scale[1] - scale[0]))
    box_width = min(math.sqrt(box_area * box_aspect), width)
    box_height = min(math.sqrt(box_area / box_aspect), height)
    left, top = x * (width - box_width), y * (height - box_height)
    return left, top, left + box_width, top + box_height


def largest_box(*, height: int, width: int, aspect: float, position: float = 0.5, share: float = 1.0) -> Box:
    """Returns the largest box of an aspect inside a frame, or one with a share of its sides.

    Args:
      height: height of the frame, in pixels.
      width: width of the frame, in pixels.
      aspect: width / height of the box.
      position: place of the box, from 0 to 1, along the axis with more room; it is in the middle of the other one.
      share: sides of the box as a share of the largest box's, above 0 and up to 1.
    """
    largest_width, largest_height = min(width, height * aspect), min(height, width / aspect)
    box_width, box_height = share * largest_width, share * largest_height
    x, y = (position, 0.5) if width - largest_width >= height - largest_height else (0.5, position)
    left, top = x * (width - box_width), y * (height - box_height)
    return left, top, left + box_width, top + box_height


def crop_resize(frames: np.ndarray, *, box: Box, size: tuple[int, int], flip: bool = False) -> np.ndarray:
    """Crops uint8 `(t h' w' c)` to one box, rounded to whole pixels, and resizes it to `(t h w c)`.

    Resizing is bilinear. If a side shrinks to half or less, areas are averaged, because bilinear would skip pixels.
    """
    chex.assert_rank(frames, 4)
    height, width = size
    left, top, right, bottom = _whole(box, frames)
    halves = 2 * height <= bottom - top or 2 * width <= right - left
    # Averaging takes twice as long as bilinear, and looks the same if the frame shrinks less.
    interpolation = cv2.INTER_AREA if halves else cv2.INTER_LINEAR
    clip = np.empty((len(frames), height, width, frames.shape[-1]), np.uint8)
    for frame, out in zip(frames, clip, strict=True):
        cut = frame[top:bottom, left:right]
        cv2.resize(cut, (width, height), dst=out, interpolation=interpolation)
        if flip:
            cv2.flip(out, 1, dst=out)
    return clip


def shrink(frame: np.ndarray, *, short_side: int) -> np.ndarray:
    """Returns a frame `(h w c)`, uint8, shrunk until its shorter side fits `short_side` pixels; the aspect is kept."""
    height, width = frame.shape[:2]
    if min(height, width) <= short_side:
        return frame
    scale = short_side / min(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return crop_resize(frame[None], box=(0, 0, width, height), size=size)[0]


def to_float(frames: jax.Array, *, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """Returns `(frames / 255 - mean) / std` in float32, for each channel of uint8 frames `(*b h w c)`."""
    chex.assert_axis_dimension(frames, -1, len(mean))
    scale = 1 / (255 * jnp.asarray(std, jnp.float32))
    return frames.astype(jnp.float32) * scale - jnp.asarray(mean, jnp.float32) / jnp.asarray(std, jnp.float32)


def tile_clips(clips: np.ndarray) -> np.ndarray:
    """Returns the clips of `(b t h w c)` in a grid, `(t rows*h columns*w c)`; unused cells are black."""
    columns = math.ceil(math.sqrt(len(clips)))
    rows = math.ceil(len(clips) / columns)
    filled = np.zeros((rows * columns, *clips.shape[1:]), clips.dtype)
    filled[: len(clips)] = clips
    grid = filled.reshape(rows, columns, *clips.shape[1:]).transpose(2, 0, 3, 1, 4, 5)
    return grid.reshape(clips.shape[1], rows * clips.shape[2], columns * clips.shape[3], clips.shape[4])


def _whole(box: Box, frames: np.ndarray) -> tuple[int, int, int, int]:
    """Returns the nearest box of whole pixels inside the frame, at least one pixel wide and high."""
    height, width = frames.shape[1:3]
    left, top = min(round(box[0]), width - 1), min(round(box[1]), height - 1)
    return left, top, min(max(round(box[2]), left + 1), width), min(max(round(box[3]), top + 1), height)
