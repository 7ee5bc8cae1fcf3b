"""Augmentation on the host: the same draw for all frames of a clip.

It runs where clips are bytes, one thread a clip, with OpenCV. On a CPU the same colour jitter inside the jitted step
took fifteen times as long; on an accelerator the host's share is small beside decoding (docs/benchmarks.md).
"""

from collections.abc import Callable

import cv2
import numpy as np

_UNCOVERED = 128  # gray level of what has no pixels


def jitter_colors(rng: np.random.Generator, clip: np.ndarray, *, strength: float) -> np.ndarray:
    """Returns a clip `(t h w 3)`, uint8, with another brightness, contrast and saturation.

    Each is a factor in [1 - strength, 1 + strength]; contrast pulls towards the clip's mean gray, saturation towards
    each pixel's gray. Values are clipped once, at the end. Three numbers are drawn.
    """
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    tall = np.ascontiguousarray(clip).reshape(-1, clip.shape[2], 3)
    gray = cv2.cvtColor(tall, cv2.COLOR_RGB2GRAY)
    shift = brightness * (1 - contrast) * cv2.mean(gray)[0]
    weight = brightness * contrast
    gray = cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(tall, weight * saturation, gray, weight * (1 - saturation), shift).reshape(clip.shape)


def erase_box(rng: np.random.Generator, clip: np.ndarray, *, probability: float) -> np.ndarray:
    """Returns a clip `(t h w c)`, uint8, in which one box may be gray, the same in all frames.

    The box covers 2 to 33 % of the frame, with an aspect from 0.3 to 3.3, and is cut off at the frame's border. Five
    numbers are drawn, whatever comes of them.

    Source: Zhong et al. 2020, "Random erasing data augmentation". Deviations: gray in place of random values; the
    box's centre is uniform, so that it may be cut off, where the paper draws again.
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
