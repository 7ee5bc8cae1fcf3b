"""Classes of different size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjax.data.balance import class_weights, positions_by_class
from vjax.data.video import Source, Video
from vjax.errors import InputError


def make_source(labels):
    videos = [Video(str(i), label, 4, 10.0, lambda indices: indices) for i, label in enumerate(labels)]
    return Source(("a", "b", "c"), videos, videos, split="given")


@given(st.lists(st.integers(0, 2), max_size=30).map(lambda labels: [0, 1, 2, *labels]))
def test_every_class_weighs_the_same_and_the_mean_video_weighs_one(labels):
    positions = positions_by_class(make_source(labels))
    assert sorted(i for found in positions for i in found) == list(range(len(labels)))
    weights = class_weights(positions)
    totals = [weight * len(found) for weight, found in zip(weights, positions, strict=True)]
    assert totals == pytest.approx([totals[0]] * 3)
    assert np.mean([weights[label] for label in labels]) == pytest.approx(1)


def test_videos_whose_labels_are_in_records_are_refused():
    with pytest.raises(InputError, match=r"config.class_balance needs the labels of all training videos.*'none'"):
        positions_by_class(Source(("a",), range(3), range(3), split="given"))
