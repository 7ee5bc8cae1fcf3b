"""Augmentation: all frames of a clip change alike, and each function always draws as many random numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vjax.ops.augment import erase_box, jitter_colors, rand_augment


def still_clip(num_frames=4, size=24):
    """Returns a clip of identical frames."""
    frame = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    return np.repeat(frame, num_frames, axis=0)


CHANGES = {  # each with the number of random numbers that it draws
    "jitter": (lambda rng, clip: jitter_colors(rng, clip, strength=0.5), 3),
    "erase": (lambda rng, clip: erase_box(rng, clip, probability=0.5), 5),
    "rand": (lambda rng, clip: rand_augment(rng, clip, num_ops=2, magnitude=7.5), 4),
}


@pytest.mark.parametrize("name", CHANGES)
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_all_frames_get_the_same_and_the_draws_are_always_as_many(name, seed):
    change, num_drawn = CHANGES[name]
    clip = still_clip()
    before = clip.copy()
    rng, other = np.random.default_rng(seed), np.random.default_rng(seed)
    changed = change(rng, clip)
    assert (changed.shape, changed.dtype) == (clip.shape, np.uint8)
    np.testing.assert_array_equal(changed, np.repeat(changed[:1], 4, axis=0))
    np.testing.assert_array_equal(clip, before)
    other.random(num_drawn)
    assert rng.random() == other.random()


def test_colours_stay_as_they_are_at_strength_0():
    clip = still_clip()
    changed = jitter_colors(np.random.default_rng(0), clip, strength=0.0)
    assert np.abs(changed.astype(int) - clip).max() <= 1


def test_gray_stays_gray_under_colour_jitter_and_brightness_and_contrast_change():
    clip = np.repeat(still_clip()[..., :1], 3, axis=-1)
    changed = [jitter_colors(np.random.default_rng(seed), clip, strength=0.8) for seed in range(20)]
    for one in changed:
        np.testing.assert_array_equal(one, np.repeat(one[..., :1], 3, axis=-1))
    assert np.std([one.mean() for one in changed]) > 10
    assert np.std([one.std() for one in changed]) > 10


def test_saturation_pulls_a_pixel_to_its_gray_and_past_its_colour():
    clip = np.full((1, 2, 2, 3), (200, 100, 50), np.uint8)
    spreads = [np.ptp(jitter_colors(np.random.default_rng(s), clip, strength=0.6)[0, 0, 0]) for s in range(30)]
    assert min(spreads) < 100 < 150 < max(spreads)


def test_as_many_clips_lose_a_box_as_the_probability_says_and_it_is_a_box():
    clip, rng = still_clip(1), np.random.default_rng(0)
    lost = np.array([(erase_box(rng, clip, probability=0.3) != clip).any(-1)[0] for _ in range(400)])
    assert 0.2 < lost.any((1, 2)).mean() < 0.4
    for mask in lost[lost.any((1, 2))]:
        rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
        # A pixel that was already gray does not count as lost; there are very few.
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.95
        assert mask.mean() < 0.34 + 0.1  # the box is rounded to whole pixels


def test_nothing_is_erased_at_probability_0():
    clip = still_clip()
    assert erase_box(np.random.default_rng(0), clip, probability=0.0) is clip


def test_rand_augment_changes_more_with_the_magnitude_and_nothing_without_operations():
    clip = still_clip()

    def change(magnitude, num_ops=1):
        rngs = (np.random.default_rng(seed) for seed in range(60))
        changed = [rand_augment(rng, clip, num_ops=num_ops, magnitude=magnitude) for rng in rngs]
        return np.abs(np.stack(changed).astype(int) - clip).mean()

    assert change(10.0, num_ops=0) == 0
    assert change(0.0) < 1
    assert change(1.0) < change(4.0) < change(10.0)
