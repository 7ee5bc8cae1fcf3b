import collections
import functools
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from vjax.errors import InputError
from vjax.ops import filters

VIDEOS = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)))
FILTERS = {
    "xt": lambda frames: filters.xt_slice(frames, row=1),
    "yt": lambda frames: filters.yt_slice(frames, column=2),
    "background": filters.median_background,
    "median": lambda frames: filters.median_filter(frames, window=3),
    "foreground": filters.foreground_mask,
    "opened": lambda frames: filters.foreground_mask(frames, opening=2),
}


def moving_square(num_frames=9, size=24, side=4):
    """Returns frames, background and mask of a white square that moves 2 pixels per frame over a texture."""
    background = np.random.default_rng(0).integers(0, 100, (size, size, 3), np.uint8)
    frames = np.repeat(background[None], num_frames, axis=0)
    mask = np.zeros((num_frames, size, size), bool)
    for index in range(num_frames):
        mask[index, 8 : 8 + side, 2 * index : 2 * index + side] = True
    frames[mask] = 255
    return frames, background, mask


@settings(deadline=None, max_examples=60)
@given(frames=VIDEOS, half=st.integers(0, 4))
def test_the_running_median_equals_scipys(frames, half):
    window = 2 * half + 1
    expected = ndimage.median_filter(frames, size=(window, 1, 1, 1), mode="nearest")
    found = filters.median_filter(frames, window=window)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.uint8


@settings(deadline=None, max_examples=60)
@given(frames=VIDEOS, half=st.integers(0, 4), data=st.data())
def test_a_stream_is_filtered_as_its_array_is(frames, half, data):
    row, column = (data.draw(st.integers(0, size - 1)) for size in frames.shape[1:3])
    window = 2 * half + 1
    medians = list(filters.streamed_median_filter(iter(frames), window=window))
    np.testing.assert_array_equal(medians, filters.median_filter(frames, window=window))
    np.testing.assert_array_equal(filters.streamed_xt_slice(iter(frames), row=row), filters.xt_slice(frames, row=row))
    found = filters.streamed_yt_slice(iter(frames), column=column)
    np.testing.assert_array_equal(found, filters.yt_slice(frames, column=column))


def most_frames_in_memory(consume):
    """Returns the largest number of frames of a stream of 40 that are in memory at once."""
    references, counts = [], []

    def stream():
        for index in range(40):
            frame = np.full((4, 5, 3), index, np.uint8)
            references.append(weakref.ref(frame))
            counts.append(sum(reference() is not None for reference in references))
            yield frame

    consume(stream())
    return max(counts)


def test_a_stream_is_not_held_in_memory():
    assert most_frames_in_memory(lambda frames: filters.streamed_xt_slice(frames, row=1)) <= 3
    assert most_frames_in_memory(lambda frames: filters.streamed_yt_slice(frames, column=1)) <= 3
    medians = functools.partial(filters.streamed_median_filter, window=5)
    assert 5 <= most_frames_in_memory(lambda frames: collections.deque(medians(frames), maxlen=0)) <= 8


@settings(deadline=None, max_examples=30)
@given(frames=VIDEOS)
def test_the_background_is_the_median_and_does_not_know_the_order_of_frames(frames):
    found = filters.median_background(frames)
    np.testing.assert_array_equal(found, np.rint(np.median(frames, axis=0)).astype(np.uint8))
    np.testing.assert_array_equal(found, filters.median_background(frames[::-1]))


def test_the_median_erases_a_moving_square_exactly():
    frames, background, _ = moving_square()
    np.testing.assert_array_equal(filters.median_background(frames), background)
    np.testing.assert_array_equal(filters.median_filter(frames, window=5)[3:-3], frames[:3] * 0 + background)


@pytest.mark.parametrize("opening", [0, 3])
def test_the_foreground_is_the_moving_square_exactly(opening):
    frames, background, mask = moving_square()
    np.testing.assert_array_equal(filters.foreground_mask(frames, opening=opening), mask)
    np.testing.assert_array_equal(filters.foreground_mask(frames, background=background), mask)


def test_opening_takes_out_what_is_narrower():
    frames, _, mask = moving_square()
    frames[4, 20, 20] = 255
    assert filters.foreground_mask(frames)[4, 20, 20]
    np.testing.assert_array_equal(filters.foreground_mask(frames, opening=2), mask)


def test_a_threshold_is_in_the_units_of_the_frames():
    frames = np.zeros((3, 1, 1, 1), np.float32)
    frames[1] = 0.4
    assert filters.foreground_mask(frames, threshold=0.3).ravel().tolist() == [False, True, False]
    assert not filters.foreground_mask(frames, threshold=0.5).any()


def test_a_sideways_motion_is_a_slanted_line_in_the_xt_slice():
    frames, _, mask = moving_square()
    slice_mask = filters.xt_slice(mask[..., None], row=9)[..., 0]
    starts = slice_mask.argmax(axis=1)
    np.testing.assert_array_equal(starts, 2 * np.arange(len(frames)))


def test_slices_are_rows_and_columns_over_time():
    frames = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), np.uint8)
    xt, yt = filters.xt_slice(frames, row=2), filters.yt_slice(frames, column=3)
    assert (xt.shape, yt.shape) == ((5, 7, 3), (6, 5, 3))
    np.testing.assert_array_equal(xt[4], frames[4, 2])
    np.testing.assert_array_equal(yt[:, 4], frames[4, :, 3])


@pytest.mark.parametrize("name", FILTERS)
def test_leading_axes_are_filtered_one_by_one(name):
    batch = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 4, 4, 3), np.uint8)
    found = FILTERS[name](batch)
    for i in range(2):
        for j in range(3):
            np.testing.assert_array_equal(found[i, j], FILTERS[name](batch[i, j]))


def test_what_lies_outside_the_frame_is_refused():
    frames = np.zeros((2, 4, 6, 3), np.uint8)
    with pytest.raises(InputError, match="row 4 lies outside the frame; it has rows 0 to 3"):
        filters.xt_slice(frames, row=4)
    with pytest.raises(InputError, match="column -1 lies outside the frame; it has columns 0 to 5"):
        filters.yt_slice(frames, column=-1)


@pytest.mark.parametrize("window", [0, 2, -1])
def test_a_window_that_has_no_middle_is_refused(window):
    with pytest.raises(InputError, match="must be an odd number of frames"):
        filters.median_filter(np.zeros((2, 1, 1, 1)), window=window)
    with pytest.raises(InputError, match="must be an odd number of frames"):  # before the first frame is asked for
        filters.streamed_median_filter(iter(()), window=window)
