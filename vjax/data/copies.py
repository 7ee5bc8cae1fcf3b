"""Copies of videos that have other bytes: encoded again, cropped a little, mirrored, or cut at another time."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from vjax.data.fingerprints import (
    MOTION_FPS,
    Fingerprint,
    frames_at,
    most_similar,
    shrink_gray,
    similar_scenes,
)
from vjax.data.video import Video

SCENE = 0.7  # lowest correlation of the scenes of two copies
MOTION = 0.75  # lowest correlation of the motion in their fingerprints
ALIGNED = 0.88  # lowest correlation of the motion in their aligned frames
MOST_PAIRS = 100_000  # pairs whose motion is compared: those of the most similar scenes

_SHORTEST, _OVERLAP = 8, 0.5  # frames, and share of the shorter fingerprint, that two copies have in common
_SIZE, _FRAMES = (72, 96), 96  # of the frames that are aligned
_BLUR = 5  # width of the blur before the alignment, in pixels
_ALIGNMENT = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-4)


class Copy(NamedTuple):
    """Two videos with the same content.

    Attributes:
      first: position of one video.
      second: position of the other.
      mirrored: whether the second is the mirror image of the first.
    """

    first: int
    second: int
    mirrored: bool


def find_copies(videos: Sequence[Video], prints: Sequence[Fingerprint]) -> list[Copy]:
    """Returns the pairs of videos that have the same content.

    Videos of one place look alike, so the motion decides: what is left of a video when its mean over time is taken
    away. It is compared in the fingerprints first, at every distance in time, and then in larger frames that are
    aligned with each other. A video without motion has no copies here.

    Args:
      videos: all videos.
      prints: their fingerprints.

    Raises:
      VideoError: a video can no longer be read.
    """
    pairs = most_similar(similar_scenes(prints, lowest=SCENE), most=MOST_PAIRS)
    copies: dict[tuple[int, int], Copy] = {}
    for first, second, mirrored in zip(*(column.tolist() for column in pairs[:3]), strict=True):
        if (first, second) in copies:
            continue
        here, there = prints[first].motion, prints[second].motion
        similarity, lag = motion_similarity(here, there[..., ::-1] if mirrored else there)
        if similarity < MOTION:
            continue
        if _aligned_similarity(videos[first], videos[second], lag / MOTION_FPS, mirrored) >= ALIGNED:
            copies[first, second] = Copy(first, second, mirrored)
    return sorted(copies.values())


def motion_similarity(here: np.ndarray, there: np.ndarray) -> tuple[float, int]:
    """Returns the largest correlation of the motion in two series of frames, and the lag at which it occurs.

    At a lag of s, frame i of the first series is compared with frame i + s of the second. The mean over the frames in
    common is taken away from every pixel of both.

    Args:
      here: frames `(f h w)`.
      there: frames `(g h w)` of the same size.

    Returns:
      The correlation, -1 if too few frames are in common or nothing moves; and the lag in frames.
    """
    first, second = (frames.reshape(len(frames), -1).astype(np.float64) for frames in (here, there))
    needed = max(_SHORTEST, math.ceil(_OVERLAP * min(len(first), len(second))))
    if min(len(first), len(second)) < needed:
        return -1.0, 0
    # The frames in common at each lag: `count` of them, from the two starts on.
    lags = np.arange(needed - len(first), len(second) - needed + 1)
    start, other_start = np.maximum(0, -lags), np.maximum(0, lags)
    count = np.minimum(len(first) - start, len(second) - other_start)
    # Inner products of all pairs of frames give those of the motion at every lag.
    products = first @ second.T
    distance = np.arange(len(second)) - np.arange(len(first))[:, None] + len(first) - 1
    at_lag = np.bincount(distance.ravel(), products.ravel())[lags + len(first) - 1]
    both = at_lag - _block_sums(products, start, other_start, count) / count
    energy = _energy(first, start, count) * _energy(second, other_start, count)
    found = np.where(energy > 1e-9, both / np.sqrt(np.maximum(energy, 1e-9)), -1.0)
    best = int(found.argmax())
    return float(found[best]), int(lags[best])


def _energy(frames: np.ndarray, start: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Returns the sum of squares of frames `(f d)` without their mean, for each window from `start` on."""
    products = frames @ frames.T
    total = np.pad(products.diagonal().cumsum(), (1, 0))
    return total[start + count] - total[start] - _block_sums(products, start, start, count) / count


def _block_sums(products: np.ndarray, rows: np.ndarray, columns: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Returns the sum of each square block of `count` rows and columns of `(f g)`."""
    total = np.pad(products.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    ends, other_ends = rows + count, columns + count
    return total[ends, other_ends] - total[rows, other_ends] - total[ends, columns] + total[rows, columns]


def _aligned_similarity(first: Video, second: Video, lag_s: float, mirrored: bool) -> float:
    """Returns the correlation of the motion in the aligned frames of two videos; -1 if they cannot be aligned.

    Args:
      first: video.
      second: another video.
      lag_s: time in the second video minus time in the first, in seconds.
      mirrored: whether the second video is mirrored.

    Source of the alignment: Evangelidis and Psarakis 2008, "Parametric image alignment using enhanced correlation
    coefficient maximization" (OpenCV's `findTransformECC`).
    """
    fps = min(first.fps, second.fps)
    here = _read(first, start_s=max(0.0, -lag_s), fps=fps)
    there = _read(second, start_s=max(0.0, lag_s), fps=fps)
    if mirrored:
        there = there[..., ::-1]
    height, width = _SIZE
    try:
        start, everywhere = np.eye(2, 3, dtype=np.float32), np.ones(_SIZE, np.uint8)
        means = here.mean(axis=0), there.mean(axis=0)
        _, warp = cv2.findTransformECC(*means, start, cv2.MOTION_AFFINE, _ALIGNMENT, everywhere, _BLUR)
    except cv2.error:  # the alignment does not converge
        return -1.0
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = np.stack([cv2.warpAffine(frame, warp, (width, height), flags=flags) for frame in there])
    inside = cv2.warpAffine(np.ones(_SIZE, np.float32), warp, (width, height), flags=flags) > 0.99
    if inside.mean() < 0.5:  # a copy is cropped a little only
        return -1.0
    return motion_similarity(here[:, inside, None], warped[:, inside, None])[0]


def _read(video: Video, *, start_s: float, fps: float) -> np.ndarray:
    """Returns gray frames of a video `(f h w)`, float32, from a time on."""
    frames = video.read(frames_at(video, start_s=start_s, fps=fps, most=_FRAMES))
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    return np.stack([shrink_gray(frame, _SIZE) for frame in gray]).astype(np.float32)
