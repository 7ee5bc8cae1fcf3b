"""The file with the probabilities of each test video."""

import numpy as np
import pytest

from vjax.data.video import Video
from vjax.errors import InputError
from vjax.evaluation.evaluate import Evaluation
from vjax.evaluation.predictions import PREDICTIONS_FILE, read_predictions, write_predictions

PROBS = np.float32([[0.9, 0.1], [0.2, 0.8]])


@pytest.mark.parametrize("names", [["a/ü.mp4", "b/\udcff.mp4"], ["x", "y"]])
def test_predictions_read_back_as_they_were_written(tmp_path, names):
    groups = ["ann", ""]
    videos = [
        Video(name, 0, 4, 10.0, lambda indices: indices, group) for name, group in zip(names, groups, strict=True)
    ]
    write_predictions(tmp_path / PREDICTIONS_FILE, Evaluation({}, np.array([0, 1]), PROBS), videos)
    found = read_predictions(tmp_path)
    assert (found.names, found.groups) == (names, groups)
    assert found.right.tolist() == [True, True]
    np.testing.assert_array_equal(found.label, [0, 1])
    np.testing.assert_array_equal(found.probs, PROBS)


def test_videos_in_records_have_no_names(tmp_path):
    write_predictions(tmp_path / PREDICTIONS_FILE, Evaluation({}, np.array([0, 1]), PROBS), range(2))
    assert read_predictions(tmp_path).names == []
    assert read_predictions(tmp_path).groups == ["", ""]


def test_a_run_without_predictions_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"the run wrote no predictions.npz; train it again in another work directory"):
        read_predictions(tmp_path)
