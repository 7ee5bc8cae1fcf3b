"""Augmentation: the same draw for all frames of a clip.

What moves pixels or reads a table runs on the host, where clips are bytes (`rand_augment`); what computes with
every pixel runs on the device, inside the jitted step, where XLA fuses it with the conversion to float
(`jitter_colors`, `erase_boxes`). The numbers that decided are in docs/benchmarks.md.
"""

from collections.abc import Callable

import cv2
import jax
import jax.numpy as jnp
import numpy as np

_GRAY = (0.299, 0.587, 0.114)  # ITU-R BT.601


def jitter_colors(key: jax.Array, clips: jax.Array, *, strength: float) -> jax.Array:
    """Returns float32 clips `(b t h w 3)` in [0, 255] with another brightness, contrast and saturation.

    Each is a factor in [1 - strength, 1 + strength] for a whole clip; contrast pulls towards the clip's mean gray,
    saturation towards each pixel's gray. Values are clipped once, at the end.
    """
    factors = jax.random.uniform(key, (3, len(clips), 1, 1, 1, 1), minval=1 - strength, maxval=1 + strength)
    brightness, contrast, saturation = factors
    clips = clips.astype(jnp.float32) * brightness
    gray = (clips * jnp.asarray(_GRAY)).sum(-1, keepdims=True)
    mean = gray.mean((1, 2, 3), keepdims=True)
    return jnp.clip(mean + contrast * (gray - mean + saturation * (clips - gray)), 0, 255)


def erase_boxes(key: jax.Array, clips: jax.Array, *, probability: float) -> jax.Array:
    """Returns float32 clips `(b t h w c)` of which some have one box, the same in all frames, set to the clip's mean.

    The box covers 2 to 33 % of the frame, with an aspect from 0.3 to 3.3, and is cut off at the frame's border.

    Source: Zhong et al. 2020, "Random erasing data augmentation". Deviations: the mean in place of random values;
    the box's centre is uniform, so that it may be cut off, where the paper draws again.
    """
    clips = clips.astype(jnp.float32)
    b, _, h, w, _ = clips.shape
    drawn = jax.random.uniform(key, (5, b, 1, 1))
    area, aspect = 0.02 + 0.31 * drawn[0], 0.3 * (3.3 / 0.3) ** drawn[1]
    half_h, half_w = jnp.sqrt(area * aspect) / 2, jnp.sqrt(area / aspect) / 2
    y, x = (jnp.arange(h)[None, :, None] + 0.5) / h, (jnp.arange(w)[None, None, :] + 0.5) / w
    inside = (jnp.abs(y - drawn[2]) < half_h) & (jnp.abs(x - drawn[3]) < half_w) & (drawn[4] < probability)
    return jnp.where(inside[:, None, :, :, None], clips.mean((1, 2, 3), keepdims=True), clips)


def rand_augment(rng: np.random.Generator, clip: np.ndarray, *, num_ops: int, magnitude: float) -> np.ndarray:
    """Returns a clip `(t h w 3)`, uint8, after some operations drawn at random, each with a random sign.

    Args:
      rng: draws two numbers for each operation, whatever it is.
      clip: uint8.
      num_ops: how many, one after the other.
      magnitude: from 0, next to nothing, to 10.

    Source: Cubuk et al. 2020, "RandAugment". Deviations: no identity, and no invert, equalize or autocontrast, whose
    effect does not grow with the magnitude; what a shift uncovers is gray.
    """
    for _ in range(num_ops):
        operation = _OPERATIONS[int(rng.random() * len(_OPERATIONS))]
        sign = 1 if rng.random() < 0.5 else -1
        clip = operation(clip, sign * magnitude / 10)
    return clip


def _warp(matrix: Callable[[float, int, int], list[list[float]]]) -> Callable[[np.ndarray, float], np.ndarray]:
    def apply(clip: np.ndarray, level: float) -> np.ndarray:
        height, width = clip.shape[1:3]
        turn = np.array(matrix(level, height, width))
        centre = np.array([width / 2 - 0.5, height / 2 - 0.5])
        turn[:, 2] += centre - turn[:, :2] @ centre  # about the middle of the frame
        out = np.empty_like(clip)
        for frame, result in zip(clip, out, strict=True):
            cv2.warpAffine(frame, turn, (width, height), dst=result, borderValue=(128, 128, 128))
        return out

    return apply


def _table(values: Callable[[np.ndarray, float], np.ndarray]) -> Callable[[np.ndarray, float], np.ndarray]:
    def apply(clip: np.ndarray, level: float) -> np.ndarray:
        table = np.clip(np.rint(values(np.arange(256.0), level)), 0, 255).astype(np.uint8)
        return cv2.LUT(clip.reshape(len(clip), -1), table).reshape(clip.shape)

    return apply


def _rotation(level: float, *_: int) -> list[list[float]]:
    cos, sin = np.cos(np.pi / 6 * level), np.sin(np.pi / 6 * level)
    return [[cos, -sin, 0.0], [sin, cos, 0.0]]


_OPERATIONS = (
    _warp(_rotation),  # up to 30 degrees
    _warp(lambda level, h, w: [[1.0, 0.3 * level, 0.0], [0.0, 1.0, 0.0]]),
    _warp(lambda level, h, w: [[1.0, 0.0, 0.0], [0.3 * level, 1.0, 0.0]]),
    _warp(lambda level, h, w: [[1.0, 0.0, 0.3 * level * w], [0.0, 1.0, 0.0]]),
    _warp(lambda level, h, w: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.3 * level * h]]),
    _table(lambda v, level: v * (1 + 0.9 * level)),  # brightness
    _table(lambda v, level: 128 + (v - 128) * (1 + 0.9 * level)),  # contrast
    _table(lambda v, level: np.where(v < 256 - 128 * abs(level), v, 255 - v)),  # solarize
    _table(lambda v, level: v - v % 2 ** round(4 * abs(level))),  # posterize
    _table(lambda v, level: 255 * (v / 255) ** (2.0**level)),  # gamma
)
