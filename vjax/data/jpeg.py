"""Encodes and decodes JPEG frames with libjpeg-turbo; other image formats are decoded with OpenCV."""

from collections.abc import Sequence

import cv2
import numpy as np
import simplejpeg

_JPEG = b"\xff\xd8"  # first bytes of every JPEG


def encode_frame(frame: np.ndarray, *, quality: int) -> bytes:
    """Returns a frame `(h w 3)`, RGB uint8, as JPEG with chroma at half the resolution."""
    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(frame), quality=quality, colorspace="RGB", colorsubsampling="420"
    )


def decode_frames(encoded: Sequence[bytes]) -> np.ndarray:
    """Returns frames `(t h w 3)`, RGB uint8, decoded from images of equal size.

    Raises:
      ValueError: an image cannot be decoded, is truncated, or differs in size from the others.
    """
    if not encoded[0].startswith(_JPEG):
        return np.stack([_decode_other(picture) for picture in encoded])
    height, width, _, _ = simplejpeg.decode_jpeg_header(encoded[0])
    frames = np.empty((len(encoded), int(height), int(width), 3), np.uint8)
    for picture, frame in zip(encoded, frames, strict=True):
        # `strict`, the default, rejects truncated images, which libjpeg would fill with gray.
        decoded = simplejpeg.decode_jpeg(picture, colorspace="RGB", buffer=frame)
        if decoded.shape != frame.shape:
            raise ValueError(f"a frame has size {decoded.shape[:2]}, the first one has {frame.shape[:2]}")
    return frames


def _decode_other(picture: bytes) -> np.ndarray:
    frame = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR_RGB)
    if frame is None:
        raise ValueError("a frame is not an image")
    return frame
