"""The probabilities of a stream while it comes."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from vjax import mesh as meshes
from vjax.data.stream import StreamFrame
from vjax.errors import InputError
from vjax.evaluation.follow import follow
from vjax.evaluation.windows import WholeWindows


def frames_of(*runs):
    """Frames of 0.1 s, in runs from a start in seconds with a number of frames; each is as bright as its number."""
    number = 0
    for start_s, length in runs:
        for index in range(length):
            now = start_s + index / 10
            yield StreamFrame(now, now + 0.1, 100 + now, np.full((2, 2, 3), number, np.uint8), index > 0)
            number += 1


def windows_of(frames, *, num_frames=4, hop=2):
    def brightness(clips):
        return SimpleNamespace(probs=np.asarray(clips, np.float32).mean((1, 2, 3, 4))[:, None])

    inference = WholeWindows(brightness, meshes.make_mesh(jax.devices()[:1]))
    found = follow(frames, inference, num_frames=num_frames, hop=hop)
    return [(round(w.start_s, 3), round(w.end_s, 3), round(w.arrived_s, 3), float(w.probs[0])) for w in found]


def test_a_window_comes_with_its_last_frame_and_the_last_one_ends_the_stream():
    assert windows_of(frames_of((0, 7))) == [
        (0.0, 0.4, 100.3, 1.5),
        (0.2, 0.6, 100.5, 3.5),
        (0.3, 0.7, 100.6, 4.5),
    ]


def test_windows_do_not_span_a_gap_and_a_short_burst_has_a_window_of_its_own():
    found = windows_of(frames_of((0, 4), (5, 2), (9, 4)))
    assert [window[:2] for window in found] == [(0.0, 0.4), (5.0, 5.2), (9.0, 9.4)]
    assert found[1][3] == 4.5, "the two frames of the burst, looped"


def test_no_frames_give_no_window_and_a_hop_of_0_is_refused():
    assert windows_of(iter(())) == []
    with pytest.raises(InputError, match="a window must move by 1 frame or more, got 0"):
        windows_of(iter(()), hop=0)
