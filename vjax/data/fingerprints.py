"""Fingerprints of videos: small gray frames that tell whether two videos show one place, or the same motion."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from vjax.data.threads import thread_pool
from vjax.data.video import Video

_SCENE_FRAMES, _SCENE_SIZE = 5, (24, 32)
_MOTION_FRAMES, _MOTION_SIZE = 64, (12, 16)
MOTION_FPS = 12.5  # frames per second of a fingerprint's motion
_BLOCK = 512  # videos in a block of correlations


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """The small gray frames of a video, uint8.

    Attributes:
      scene: `(5 24 32)`, five frames, spread evenly over the video.
      motion: `(f 12 16)`, up to 64 frames from its start, at `MOTION_FPS`.
    """

    scene: np.ndarray
    motion: np.ndarray


class Pairs(NamedTuple):
    """Pairs of videos that look alike.

    Attributes:
      first: `(p)`, position of one video of each pair.
      second: `(p)`, position of the other; it is larger.
      mirrored: `(p)`, whether the second video looks like the mirror image of the first.
      similarity: `(p)`, correlation of their scenes, up to 1.
    """

    first: np.ndarray
    second: np.ndarray
    mirrored: np.ndarray
    similarity: np.ndarray


def take_fingerprints(videos: Sequence[Video]) -> list[Fingerprint]:
    """Returns the fingerprint of each video.

    Raises:
      VideoError: a video can no longer be read.
    """
    with thread_pool() as pool:
        return list(pool.map(take_fingerprint, videos))


def take_fingerprint(video: Video) -> Fingerprint:
    """Returns the fingerprint of a video."""
    spread = np.linspace(0, video.num_frames - 1, _SCENE_FRAMES).round().astype(int)
    start = frames_at(video, start_s=0.0, fps=MOTION_FPS, most=_MOTION_FRAMES)
    unique, places = np.unique(np.concatenate([spread, start]), return_inverse=True)
    frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video.read(unique)]
    scene, motion = places[:_SCENE_FRAMES], places[_SCENE_FRAMES:]
    return Fingerprint(
        np.stack([shrink_gray(frames[i], _SCENE_SIZE) for i in scene]),
        np.stack([shrink_gray(frames[i], _MOTION_SIZE) for i in motion]),
    )


def frames_at(video: Video, *, start_s: float, fps: float, most: int) -> np.ndarray:
    """Returns the indices of a video's frames from a time on, at a frame rate; a frame is repeated if it must be."""
    times = start_s + np.arange(most) / fps
    indices = np.floor(times * video.fps + 1e-6).astype(int)
    return indices[indices < video.num_frames]


def shrink_gray(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns a gray frame of size `(h w)`, without regard to its aspect."""
    return cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)


def similar_scenes(prints: Sequence[Fingerprint], *, lowest: float) -> Iterator[Pairs]:
    """Yields the pairs of videos whose scenes correlate by more than `lowest`, plain or mirrored.

    The correlation is that of all pixels of the five frames, with their mean removed. One block of videos is compared
    with all others at a time, so the memory does not grow with the number of pairs.
    """
    if not prints:
        return
    scenes = np.stack([found.scene for found in prints])
    plain = _standardised(scenes)
    for start in range(0, len(prints), _BLOCK):
        block = slice(start, start + _BLOCK)
        for mirrored in (False, True):
            rows = _standardised(scenes[block, ..., ::-1]) if mirrored else plain[block]
            correlation = rows @ plain[start:].T
            first, second = np.nonzero(np.triu(correlation > lowest, k=1))
            yield Pairs(start + first, start + second, np.full(len(first), mirrored), correlation[first, second])


def most_similar(blocks: Iterable[Pairs], *, most: int) -> Pairs:
    """Returns the pairs of several blocks, the most similar ones first, and no more than `most` of them."""
    kept = Pairs(np.zeros(0, int), np.zeros(0, int), np.zeros(0, bool), np.zeros(0, np.float32))
    for block in blocks:
        both = Pairs(*map(np.concatenate, zip(kept, block, strict=True)))
        order = np.argsort(-both.similarity, kind="stable")[:most]
        kept = Pairs(*(column[order] for column in both))
    return kept


def _standardised(scenes: np.ndarray) -> np.ndarray:
    """Returns rows `(n d)` of mean 0 and length 1; of a video of one colour, zeros."""
    rows = scenes.reshape(len(scenes), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
