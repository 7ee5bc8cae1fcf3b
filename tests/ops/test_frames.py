import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vjax.ops.frames import as_size, crop_resize, largest_box, random_box, to_float

SIDES = st.integers(8, 400)
ASPECTS = st.floats(0.4, 2.5)


@given(height=SIDES, width=SIDES, aspect=ASPECTS, most=st.floats(1, 1.5), seed=st.integers(0, 999))
def test_a_random_box_lies_inside_the_frame_and_has_the_share_asked_for(height, width, aspect, most, seed):
    rng = np.random.default_rng(seed)
    box = random_box(rng, height=height, width=width, aspect=aspect, scale=(0.3, 0.8), ratio=(1 / most, most))
    left, top, right, bottom = box
    assert -1e-6 <= left < right <= width + 1e-6
    assert -1e-6 <= top < bottom <= height + 1e-6
    full = largest_box(height=height, width=width, aspect=aspect)
    share = (right - left) * (bottom - top) / ((full[2] - full[0]) * (full[3] - full[1]))
    assert share <= 0.8 + 1e-6
    if most == 1:
        assert share >= 0.3 - 1e-6
        assert (right - left) / (bottom - top) == pytest.approx(aspect)


@given(height=SIDES, width=SIDES)
def test_a_random_box_uses_the_same_draws_whatever_the_frame(height, width):
    used, fresh = np.random.default_rng(0), np.random.default_rng(0)
    random_box(used, height=height, width=width, aspect=1.0, scale=(0.1, 1.0), ratio=(0.7, 1.5))
    fresh.random(4)
    assert used.random() == fresh.random()


@given(height=SIDES, width=SIDES, aspect=ASPECTS, position=st.floats(0, 1))
def test_the_largest_box_touches_two_sides_and_slides_along_the_others(height, width, aspect, position):
    left, top, right, bottom = largest_box(height=height, width=width, aspect=aspect, position=position)
    assert (right - left) / (bottom - top) == pytest.approx(aspect)
    assert right - left == pytest.approx(width) or bottom - top == pytest.approx(height)
    assert left == pytest.approx(position * (width - (right - left)), abs=1e-6)
    assert top == pytest.approx(position * (height - (bottom - top)), abs=1e-6)


@given(height=SIDES, width=SIDES, aspect=ASPECTS, position=st.floats(0, 1), share=st.floats(0.1, 0.99))
def test_a_box_with_a_share_slides_along_the_axis_with_room_and_is_in_the_middle_of_the_other(
    height, width, aspect, position, share
):
    full = largest_box(height=height, width=width, aspect=aspect)
    box = largest_box(height=height, width=width, aspect=aspect, position=position, share=share)
    sides, full_sides = ((found[2] - found[0], found[3] - found[1]) for found in (box, full))
    assert sides == pytest.approx([share * side for side in full_sides])
    room = (width - full_sides[0], height - full_sides[1])
    axis = 0 if room[0] >= room[1] else 1
    size = (width, height)
    assert box[axis] == pytest.approx(position * (size[axis] - sides[axis]), abs=1e-6)
    assert box[1 - axis] == pytest.approx((size[1 - axis] - sides[1 - axis]) / 2, abs=1e-6)


def test_all_frames_of_a_clip_are_cut_and_flipped_alike():
    frame = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    clip = np.stack([frame] * 3)
    found = crop_resize(clip, box=(3.5, 2.0, 21.5, 17.0), size=(8, 10), flip=True)
    assert found.shape == (3, 8, 10, 3)
    assert found.dtype == np.uint8
    assert (found == found[0]).all()
    np.testing.assert_array_equal(found[:, :, ::-1], crop_resize(clip, box=(3.5, 2.0, 21.5, 17.0), size=(8, 10)))


def test_a_box_of_the_size_asked_for_is_cut_out_exactly():
    clip = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3), np.uint8)
    np.testing.assert_array_equal(crop_resize(clip, box=(4, 3, 14, 11), size=(8, 10)), clip[:, 3:11, 4:14])


def test_resizing_keeps_the_mean_brightness():
    clip = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    small = crop_resize(clip, box=(0, 0, 64, 64), size=(16, 16))
    assert small.mean() == pytest.approx(clip.mean(), abs=1)


@settings(deadline=None, max_examples=20)
@given(mean=st.tuples(*[st.floats(0, 1)] * 3), std=st.tuples(*[st.floats(0.1, 1)] * 3))
def test_to_float_normalises_each_channel(mean, std):
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4, 3), np.uint8)
    expected = (frames / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(to_float(frames, mean=mean, std=std), expected, atol=1e-4)


def test_a_size_is_a_side_or_height_and_width():
    assert as_size(112) == (112, 112)
    assert as_size([48, 60]) == (48, 60)
