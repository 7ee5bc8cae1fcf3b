"""Mixes pairs of clips of a batch, on the host, with one share or one box for all rows and frames of the batch.

A row's partner is the row before it; the first row's partner is the last row. Batches are drawn at random, so any
other row would do as well. In a batch of two or more, no row is its own partner.
"""

import chex
import cv2
import numpy as np


def mixup(rng: np.random.Generator, clips: np.ndarray, *, alpha: float) -> tuple[np.ndarray, float]:
    """Returns a batch `(b t h w c)`, uint8, with every clip blended with its partner, and the share of the clip itself.

    The share is drawn from Beta(alpha, alpha), once for the batch.

    Source: Zhang et al. 2018, "mixup: beyond empirical risk minimization". Deviations: clips are blended before they
    are normalised, which differs only by rounding to uint8; the partner is the row before, where the authors' code
    takes a random permutation of the batch, in which a row may be its own partner.
    """
    chex.assert_rank(clips, 5)
    share = float(rng.beta(alpha, alpha))
    b, t, h, w, c = clips.shape
    frames = clips.reshape(b, t * h, w * c)
    mixed = np.empty_like(frames)
    for row in range(b):
        cv2.addWeighted(frames[row], share, frames[row - 1], 1 - share, 0, dst=mixed[row])
    return mixed.reshape(clips.shape), share


def cutmix(rng: np.random.Generator, clips: np.ndarray, *, alpha: float) -> tuple[np.ndarray, float]:
    """Returns a batch `(b t h w c)`, uint8, with a box of its partner in every clip, and the share of the clip itself.

    The box has the frame's aspect and is the same in all frames and rows. It covers 1 - Beta(alpha, alpha) of the
    frame before it is cut off at the frame's border. The share is the part of the frame that remains outside the box.

    Source: Yun et al. 2019, "CutMix: regularization strategy to train strong classifiers with localizable features".
    Deviation: the partner is the row before, as in `mixup`.
    """
    chex.assert_rank(clips, 5)
    height, width = clips.shape[2:4]
    half = np.sqrt(1 - rng.beta(alpha, alpha)) / 2  # half a side of the box, as a share of the frame's side
    y, x = rng.random(2)
    top, bottom = max(0, round((y - half) * height)), min(height, round((y + half) * height))
    left, right = max(0, round((x - half) * width)), min(width, round((x + half) * width))
    mixed = clips.copy()
    mixed[:, :, top:bottom, left:right] = np.roll(clips[:, :, top:bottom, left:right], 1, axis=0)
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)
