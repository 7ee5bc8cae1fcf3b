"""Windows over the frames of long videos, and their inference."""

import itertools

import flax.linen as nn
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjax import mesh as meshes
from vjax import models
from vjax.errors import InputError
from vjax.evaluation.infer import compile_infer
from vjax.evaluation.windows import SharedFrames, Slider, WholeWindows, compile_windows, slide
from vjax.models.fusion import PerFrame
from vjax.ops.clip_input import ClipInput


def numbered(count):
    return (np.full((1, 1, 3), number) for number in range(count))


@given(count=st.integers(1, 40), num_frames=st.integers(1, 12), hop=st.integers(1, 15))
def test_windows_have_their_frames_in_order_and_reach_the_end(count, num_frames, hop):
    windows = [
        (first, clip[:, 0, 0, 0].tolist()) for first, clip in slide(numbered(count), num_frames=num_frames, hop=hop)
    ]
    for first, frames in windows:
        assert frames == [(first + index) % count for index in range(num_frames)]
    firsts = [first for first, _ in windows]
    assert firsts == sorted(set(firsts))
    assert windows[-1][1][-1] == count - 1 or count < num_frames
    assert all(second - first == hop for first, second in itertools.pairwise(firsts[:-1]))


def test_no_frames_give_no_window():
    assert not list(slide(iter(()), num_frames=4, hop=2))


def test_a_hop_of_0_is_refused():
    with pytest.raises(InputError, match="a window must move by 1 frame or more, got 0"):
        Slider(num_frames=4, hop=0)


@given(
    runs=st.lists(st.integers(0, 20), min_size=1, max_size=5),
    num_frames=st.integers(1, 6),
    hop=st.integers(1, 8),
)
def test_no_window_holds_frames_of_two_runs(runs, num_frames, hop):
    slider = Slider(num_frames=num_frames, hop=hop)
    windows = []
    for number, length in enumerate(runs):
        short = slider.begin_anew()
        assert (short is not None) == (number > 0 and 0 < runs[number - 1] < num_frames)
        windows += [found for index in range(length) if (found := slider.add((number, index)))]
    assert len(windows) == sum((length - num_frames) // hop + 1 for length in runs if length >= num_frames)
    for first, frames in windows:
        number, index = frames[0]
        assert frames == [(number, index + step) for step in range(num_frames)]
        assert first == sum(runs[:number]) + index


def test_a_run_that_is_shorter_than_a_window_is_looped():
    slider = Slider(num_frames=4, hop=2)
    for frame in "abcde":
        slider.add(frame)
    assert slider.begin_anew() is None, "it had a window"
    for frame in "xyz":
        slider.add(frame)
    assert slider.begin_anew() == (5, ["x", "y", "z", "x"])
    assert slider.begin_anew() is None


def inference_of(name, clip_input=ClipInput(), devices=1):
    """The inference of a small network on windows of 6 frames, and on clips."""
    network = models.create(name, 3, backbone={"name": "small", "widths": (4, 6)})
    mesh = meshes.make_mesh(jax.devices()[:devices])
    variables = network.init(jax.random.key(0), np.zeros((1, 6, 16, 16, 3), np.float32), train=False)
    infer = compile_infer(network, clip_input, mesh)(variables)
    return compile_windows(network, clip_input, mesh)(variables, infer), infer, mesh


@pytest.mark.parametrize("name", ["single_frame", "late_pool", "late_concat"])
@pytest.mark.parametrize(
    ("count", "hop", "rows", "devices"), [(31, 2, 3, 1), (31, 5, 4, 2), (20, 9, 1, 1), (4, 3, 2, 1)]
)
def test_windows_that_share_frames_give_the_probabilities_of_whole_windows(name, count, hop, rows, devices):
    shared, infer, mesh = inference_of(name, devices=devices)
    assert isinstance(shared, SharedFrames)
    frames = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)
    windows = list(slide(iter(frames), num_frames=6, hop=hop))
    batches = [windows[start : start + rows] for start in range(0, len(windows), rows)]
    of_shared, of_whole = shared.start(rows=rows, hop=hop), WholeWindows(infer, mesh).start(rows=rows, hop=hop)
    for batch in batches:
        np.testing.assert_allclose(of_shared(batch), of_whole(batch), atol=1e-6)


def test_each_frame_is_encoded_once():
    encoded, fused = [], []

    def encode(frames):
        encoded.extend(np.asarray(frames)[:, 0, 0, 0].tolist())
        return frames

    def fuse(features):
        fused.append(features.shape)
        return np.asarray(features).mean((1, 2, 3))

    infer = SharedFrames(encode, fuse, meshes.make_mesh(jax.devices()[:1])).start(rows=1, hop=1)
    for window in slide(numbered(12), num_frames=4, hop=1):
        infer([window])
    assert encoded == list(range(12))
    assert set(fused) == {(1, 4, 1, 1, 3)}


@pytest.mark.parametrize(
    ("name", "kind"), [("slow_fusion", "rgb"), ("early_fusion", "rgb"), ("late_pool", "difference")]
)
def test_windows_share_no_frames_where_features_depend_on_the_clip(name, kind):
    assert isinstance(inference_of(name, ClipInput(kind))[0], WholeWindows)


def test_a_network_that_fuses_no_frames_says_so():
    with pytest.raises(NotImplementedError):
        PerFrame(3, nn.Dense(1)).fuse(np.zeros((1, 1, 1, 1, 1)), train=False)
