"""Clips as a person looks at them: enlarged, each under its caption."""

from collections.abc import Sequence

import chex
import cv2
import numpy as np

_LEAST_WIDTH = 112  # pixels; narrower clips are enlarged, so that a caption can be read
_HEIGHT = 16  # pixels of the strip with the caption
_FONT, _SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.4


def add_captions(clips: np.ndarray, captions: Sequence[str]) -> np.ndarray:
    """Returns uint8 clips `(b t h w c)`, each with its caption in white on a black strip above the frames.

    Clips narrower than 112 pixels are enlarged by a whole factor, without interpolation. A caption that is too wide is
    cut off; characters outside ASCII become question marks, because OpenCV's font has no others.
    """
    chex.assert_rank(clips, 5)
    factor = -(-_LEAST_WIDTH // clips.shape[3])
    large = clips.repeat(factor, axis=2).repeat(factor, axis=3)
    strips = np.zeros((*large.shape[:2], _HEIGHT, *large.shape[3:]), np.uint8)
    for clip, caption in zip(strips, captions, strict=True):
        text = caption.encode("ascii", "replace").decode()
        cv2.putText(clip[0], text, (3, _HEIGHT - 5), _FONT, _SIZE, (255, 255, 255), 1, cv2.LINE_AA)
        clip[1:] = clip[0]
    return np.concatenate([strips, large], axis=2)
