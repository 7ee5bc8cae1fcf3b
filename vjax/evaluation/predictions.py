"""The file with the probabilities of each test video of a run, which later questions about the run need."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from vjax.data.video import VideoSequence, groups_of
from vjax.errors import InputError
from vjax.evaluation import metrics
from vjax.evaluation.evaluate import Evaluation
from vjax.weights.write import write_npz

PREDICTIONS_FILE = "predictions.npz"  # in the work directory of a run


class TestPredictions(NamedTuple):
    """The probabilities of a run for each video of its test split.

    Attributes:
      names: name of each video, in the order of the split; empty for videos in records, which have none in a list.
      groups: group of each video; an empty text if none is known.
      label: `(num_videos)`, index of each video's class.
      probs: `(num_videos k)`, probabilities of each video.
    """

    __test__ = False  # for pytest: this is not a test

    names: list[str]
    groups: list[str]
    label: np.ndarray
    probs: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Whether each video is classified correctly, `(num_videos)`."""
        return metrics.top_k_correct(self.probs, self.label, k=1)


def write_predictions(path: Path, evaluation: Evaluation, videos: VideoSequence) -> None:
    """Writes the arrays of `TestPredictions` as an archive for `np.load`."""
    names = [video.name for video in videos] if isinstance(videos, list) else []
    texts = {"names": names, "groups": groups_of(videos)}
    arrays = {key: np.array(found, np.str_) for key, found in texts.items()}
    write_npz(path, arrays | {"label": evaluation.label, "probs": evaluation.probs})


def read_predictions(workdir: Path) -> TestPredictions:
    """Returns the predictions of a finished run.

    Raises:
      InputError: the run wrote none, as runs of older versions.
    """
    path = workdir / PREDICTIONS_FILE
    if not path.exists():
        raise InputError(f"{workdir}: the run wrote no {PREDICTIONS_FILE}; train it again in another work directory")
    with np.load(path) as found:
        return TestPredictions(found["names"].tolist(), found["groups"].tolist(), found["label"], found["probs"])
