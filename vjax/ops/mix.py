"""Two clips of a batch in one, on the host: the same share, or the same box, for all rows and frames of a batch.

A row's partner is the row before it, and the last row's for the first: batches are drawn at random, so that any other
row would do as well, and no row ever meets itself.
"""

import cv2
import numpy as np


def mixup(rng: np.random.Generator, clips: np.ndarray, *, alpha: float) -> tuple[np.ndarray, float]:
    """Returns a batch `(b t h w c)`, uint8, in which every clip is blended with its partner, and the clip's own share.

    The share is drawn from Beta(alpha, alpha), once for the batch.

    Source: Zhang et al. 2018, "mixup: beyond empirical risk minimization". Deviations: clips are blended before they
    are normalised, which differs by the rounding to bytes alone; the partner is the row before, where the authors'
    code takes a random permutation of the batch, in which a row may stay alone.
    """
    share = float(rng.beta(alpha, alpha))
    b, t, h, w, c = clips.shape
    pictures = clips.reshape(b, t * h, w * c)
    mixed = np.empty_like(pictures)
    for row in range(b):
        cv2.addWeighted(pictures[row], share, pictures[row - 1], 1 - share, 0, dst=mixed[row])
    return mixed.reshape(clips.shape), share


def cutmix(rng: np.random.Generator, clips: np.ndarray, *, alpha: float) -> tuple[np.ndarray, float]:
    """Returns a batch `(b t h w c)`, uint8, in which every clip has a box of its partner, and the clip's own share.

    The box has the frame's aspect, is the same in all frames and rows, and is cut off at the frame's border. It covers
    1 - Beta(alpha, alpha) of the frame before that; the share is what is left of the clip after it.

    Source: Yun et al. 2019, "CutMix: regularization strategy to train strong classifiers with localizable features".
    Deviation: the partner is the row before, as in `mixup`.
    """
    height, width = clips.shape[2:4]
    half = np.sqrt(1 - rng.beta(alpha, alpha)) / 2  # of the frame's sides
    y, x = rng.random(2)
    top, bottom = max(0, round((y - half) * height)), min(height, round((y + half) * height))
    left, right = max(0, round((x - half) * width)), min(width, round((x + half) * width))
    mixed = clips.copy()
    mixed[:, :, top:bottom, left:right] = np.roll(clips[:, :, top:bottom, left:right], 1, axis=0)
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)
