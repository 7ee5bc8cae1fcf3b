"""Augmentation on the host: all frames of a clip share one random draw.

It runs on uint8 clips with OpenCV, one thread per clip. On CPU the same colour jitter inside the jitted step takes
6.63 ms per clip instead of 0.32. With an accelerator the host's time is small compared with decoding
(docs/benchmarks.md).
"""

from collections.abc import Callable

import cv2
import numpy as np

_UNCOVERED = 128  # gray level of erased boxes and of borders without pixels


def jitter_colors(rng: np.random.Generator, clip: np.ndarray, *, strength: float) -> np.ndarray:
    """Returns a clip `(t h w 3)`, uint8, with random brightness, contrast and saturation.

    Each is a random factor in [1 - strength, 1 + strength]. Contrast scales the distance to the clip's mean gray
    value, saturation the distance to each pixel's gray value. Values are clipped once, at the end. Three random
    numbers are drawn.
    """
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    tall = np.ascontiguousarray(clip).reshape(-1, clip.shape[2], 3)
    gray = cv2.cvtColor(tall, cv2.COLOR_RGB2GRAY)
    shift = brightness * (1 - contrast) * cv2.mean(gray)[0]
    weight = brightness * contrast
    gray = cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(tall, weight * saturation, gray, weight * (1 - saturation), shift).reshape(clip.shape)


def erase_box(rng: np.random.Generator, clip: np.ndarray, *, probability: float) -> np.ndarray:
    """Returns a clip `(t h w c)`, uint8, in which a box is gray with the given probability, the same in all frames.

    The box covers 2 to 33 % of the frame, has an aspect of 0.3 to 3.3 times the frame's, and is cut off at the frame's
    border. Five random numbers are drawn in every case.

    Source: Zhong et al. 2020, "Random erasing data augmentation". Deviations: the box is gray instead of random; its
    centre is uniform, so the box may be cut off, where the paper draws again.
    """
    chance, share, shape, y, x = rng.random(5)
    if chance >= probability:
        return clip
    height, width = clip.shape[1:3]
    area, aspect = 0.02 + 0.31 * share, 0.3 * (3.3 / 0.3) ** shape
    half_h, half_w = np.sqrt(area * aspect) / 2, np.sqrt(area / aspect) / 2
    rows = slice(max(0, round((y - half_h) * height)), max(0, round((y + half_h) * height)))
    columns = slice(max(0, round((x - half_w) * width)), max(0, round((x + half_w) * width)))
    clip = clip.copy()
    clip[:, rows, columns] = _UNCOVERED
    return clip


def rand_augment(rng: np.random.Generator, clip: np.ndarray, *, num_ops: int, magnitude: float) -> np.ndarray:
    """Returns a clip `(t h w 3)`, uint8, after randomly chosen operations, each with a random sign.

    Args:
      rng: generator; two random numbers are drawn for every operation.
      clip: clip `(t h w 3)`, uint8.
      num_ops: number of operations, applied one after the other.
      magnitude: strength of the operations, from 0 (almost no change) to 10.

    Source: Cubuk et al. 2020, "RandAugment". Deviations: there is no identity; invert, equalize and autocontrast are
    left out, because their effect does not grow with the magnitude; areas that a shift uncovers are gray.
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
        turn[:, 2] += centre - turn[:, :2] @ centre  # rotates and shears about the middle of the frame
        out = np.empty_like(clip)
        for frame, result in zip(clip, out, strict=True):
            cv2.warpAffine(frame, turn, (width, height), dst=result, borderValue=(_UNCOVERED,) * 3)
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
    _warp(_rotation),  # rotation by up to 30 degrees
    _warp(lambda level, h, w: [[1.0, 0.3 * level, 0.0], [0.0, 1.0, 0.0]]),  # horizontal shear
    _warp(lambda level, h, w: [[1.0, 0.0, 0.0], [0.3 * level, 1.0, 0.0]]),  # vertical shear
    _warp(lambda level, h, w: [[1.0, 0.0, 0.3 * level * w], [0.0, 1.0, 0.0]]),  # horizontal shift
    _warp(lambda level, h, w: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.3 * level * h]]),  # vertical shift
    _table(lambda v, level: v * (1 + 0.9 * level)),  # brightness
    _table(lambda v, level: 128 + (v - 128) * (1 + 0.9 * level)),  # contrast
    _table(lambda v, level: np.where(v < 256 - 128 * abs(level), v, 255 - v)),  # solarize
    _table(lambda v, level: v - v % 2 ** round(4 * abs(level))),  # posterize
    _table(lambda v, level: 255 * (v / 255) ** (2.0**level)),  # gamma
)
