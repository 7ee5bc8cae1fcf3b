"""Frames and pictures as data URIs, which a page holds inside."""

import base64

import numpy as np

from vjax.data.encode import encode_gif, encode_mp4, encode_png
from vjax.ops.frames import tile_clips

_SHORT_SIDE = 144  # pixels, to which small frames are enlarged; players blur smaller ones
_MAX_SIDE = 320


def video_uri(frames: np.ndarray, *, fps: float) -> str:
    """Returns uint8 frames `(t h w 3)` as a video that loops in a page; small frames have larger pixels."""
    content = encode_mp4(np.stack([enlarge(_bounded(frame)) for frame in frames]), fps=fps)
    return f"data:video/mp4;base64,{base64.b64encode(content).decode()}"


def gif_uri(frames: np.ndarray, *, fps: float) -> str:
    """Returns uint8 frames `(t h w 3)` as a moving picture, which also a notebook that is not trusted shows."""
    content = encode_gif([_bounded(frame) for frame in frames], fps=fps)
    return f"data:image/gif;base64,{base64.b64encode(content).decode()}"


def picture_uri(picture: np.ndarray) -> str:
    """Returns a uint8 picture `(h w 3)` as a picture in a page; a small one has larger pixels."""
    return f"data:image/png;base64,{base64.b64encode(encode_png(enlarge(picture))).decode()}"


def enlarge(picture: np.ndarray, *, short_side: int = _SHORT_SIDE) -> np.ndarray:
    """Returns a picture `(h w c)` with each pixel repeated, so that its short side reaches a size.

    >>> enlarge(np.zeros((40, 50, 3)), short_side=100).shape
    (120, 150, 3)
    """
    factor = -(-short_side // min(picture.shape[:2]))
    return picture.repeat(factor, 0).repeat(factor, 1)


def _bounded(frame: np.ndarray) -> np.ndarray:
    """Returns a frame of up to `_MAX_SIDE` pixels on its longer side: every second pixel, third, or so on."""
    step = -(-max(frame.shape[:2]) // _MAX_SIDE)
    return frame[::step, ::step]


def overlay(clip: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns a uint8 clip `(t h w 3)` in gray, with the places `(t h w)` from 0 to 1 in colour on it."""
    from matplotlib import colormaps  # imported here, because it takes half a second

    gray = clip.mean(-1, keepdims=True).repeat(3, -1)
    colours = 255 * np.asarray(colormaps["inferno"](places))[..., :3]
    share = 0.7 * places[..., None]
    return ((1 - share) * gray + share * colours).round().astype(np.uint8)


def filter_pictures(kernel: np.ndarray) -> np.ndarray:
    """Returns the first filters `(t h w 3 f)` of a network side by side, as uint8 frames `(t h w 3)`.

    Gray is 0; each filter has a contrast of its own.
    """
    kernel = np.nan_to_num(kernel)
    largest = np.abs(kernel).max(axis=(0, 1, 2, 3), keepdims=True)
    levels = (127.5 + 127.5 * kernel / np.where(largest > 0, largest, 1)).round().astype(np.uint8)
    filters = np.moveaxis(levels, -1, 0)
    side = max(1, round(32 / max(filters.shape[2:4])))
    enlarged = filters.repeat(side, 2).repeat(side, 3)
    framed = np.pad(enlarged, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
    return tile_clips(framed)


def gray_picture(values: np.ndarray) -> np.ndarray:
    """Returns numbers `(h w)` as a uint8 picture `(h w 3)`: the smallest is black, the largest white."""
    values = np.nan_to_num(values)
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low if high > low else 1)
    return (255 * scaled).round().astype(np.uint8)[..., None].repeat(3, -1)
