"""Films of places, made by code: frames of a still scene in which something walks."""

import cv2
import numpy as np


def scene(seed, *, height=72, width=96):
    """A picture with structure at all sizes."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width))
    for size in (3, 6, 12, 24):
        noise = rng.random((size, size)).astype(np.float32)
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) * 160 / size**0.5
    return np.clip(picture, 0, 255)


def film(place, actor, *, num_frames=60):
    """Frames of a scene in which a dark block with limbs walks on a path of its own."""
    rng = np.random.default_rng(1000 + actor)
    background, frames = scene(place), []
    speed, sway, row = rng.uniform(0.6, 1.3), rng.uniform(2, 5), rng.integers(15, 35)
    period, start = rng.uniform(8, 16), rng.integers(5, 25)
    for index in range(num_frames):
        frame = background.copy()
        x = int(start + speed * index)
        y = int(row + sway * np.sin(2 * np.pi * index / period))
        limb = int(6 * np.sin(2 * np.pi * index / period + actor))
        frame[y : y + 12, x : x + 5] = 10
        frame[y + 12 : y + 20, max(x + limb, 0) : x + limb + 3] = 250
        frames.append(frame)
    return np.repeat(np.stack(frames).astype(np.uint8)[..., None], 3, axis=-1)
