"""The answers of several runs, pooled by video: a video that is tested several times counts once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vjax.evaluation.predictions import TestPredictions


class Pooled(NamedTuple):
    """The videos that several runs were tested on.

    Attributes:
      names: name of each video.
      label: `(num_videos)`, index of each video's class.
      groups: group of each video; empty if none is known.
      video_of: `(num_answers)`, index of the video of each answer of the runs, one run after the other.
    """

    names: list[str]
    label: np.ndarray
    groups: list[str]
    video_of: np.ndarray

    def mean(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the mean for each video, `(num_videos)`, of the values of each run's answers."""
        return np.bincount(self.video_of, np.concatenate(values)) / np.bincount(self.video_of)


def pool_videos(tested: Sequence[TestPredictions]) -> Pooled:
    """Returns the videos of the test splits of several runs; without names, a video is known by its position."""
    names = [name for found in tested for name in found.names or map(str, range(len(found.label)))]
    unique, first, video_of = np.unique(np.array(names, np.str_), return_index=True, return_inverse=True)
    groups = [group for found in tested for group in found.groups]
    label = np.concatenate([found.label for found in tested])
    return Pooled(unique.tolist(), label[first], [groups[i] for i in first], video_of)
