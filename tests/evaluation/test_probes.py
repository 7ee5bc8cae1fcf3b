"""Changes of the views that show what a network looks at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjax.evaluation.probes import PROBES


def make_views(num_frames, *, n=2):
    """Views whose frames hold their own number."""
    levels = np.arange(num_frames, dtype=np.uint8)[None, :, None, None, None]
    return np.broadcast_to(levels, (n, num_frames, 2, 2, 3)).copy()


def frames_of(views):
    """The number of the frame at each place of the first view; all views must have the same."""
    assert (views == views[:1, :, :1, :1, :1]).all()
    return views[0, :, 0, 0, 0].tolist()


@given(num_frames=st.integers(1, 40), position=st.integers(0, 1000))
def test_each_probe_keeps_the_shape_and_makes_no_new_frame(num_frames, position):
    views = make_views(num_frames)
    for probe in PROBES.values():
        found = probe(views, position)
        assert (found.shape, found.dtype) == (views.shape, views.dtype)
        assert set(frames_of(found)) <= set(range(num_frames))
        assert frames_of(views) == list(range(num_frames)), "the given views stay as they were"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("reversed", [4, 3, 2, 1, 0]),
        ("frozen", [2, 2, 2, 2, 2]),
        ("thinned", [0, 0, 2, 2, 4]),
    ],
)
def test_what_a_probe_does_to_five_frames(name, expected):
    assert frames_of(PROBES[name](make_views(5), 0)) == expected


def test_shuffled_frames_are_all_frames_in_an_order_of_the_position():
    views = make_views(16)
    found = [frames_of(PROBES["shuffled"](views, position)) for position in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert sorted(found[2]) == list(range(16)) != found[2]
