"""Logits that torchvision's networks give with tensors drawn by name, for machines without PyTorch.

The test of torchvision's networks compares `GOLDEN` with theirs, and prints theirs if they differ.
"""

import math
import zlib

import numpy as np

NUM_CLASSES = 5
CLIP_SHAPES = dict.fromkeys(("r3d_18", "mc3_18", "r2plus1d_18"), (5, 24, 31, 3)) | {"s3d": (16, 64, 64, 3)}
# torchvision 0.29.2 with PyTorch 2.15.
GOLDEN = {
    "r3d_18": [-0.762221, 4.336773, -9.755824, 5.242287, -0.408389],
    "mc3_18": [-3.556010, 8.741068, -13.669297, 2.059587, -1.695830],
    "r2plus1d_18": [1.475883, 6.862738, -15.354018, 3.463904, -1.751975],
    "s3d": [1.669754, -0.271163, 7.751812, 13.933897, -5.316214],
}


def draw_tensor(name, shape):
    """Returns a tensor of a network in evaluation: no norm is the identity, and numbers keep their size."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    if len(shape) > 1:
        values = noise * math.sqrt(2 / math.prod(shape[1:]))
    elif name.endswith(("weight", "running_var")):
        values = np.exp(0.2 * noise)
    else:
        values = 0.2 * noise
    return values.astype(np.float32)


def golden_clips(name):
    """Returns one clip `(1 t h w c)`."""
    return np.random.default_rng(0).normal(size=(1, *CLIP_SHAPES[name])).astype(np.float32)
