"""Augmentation: the same for all frames of a clip, drawn from the key alone, and within the range of pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vjax.ops.augment import erase_boxes, jitter_colors, rand_augment


def still_clips(num_clips=3, num_frames=4, size=24):
    """Clips whose frames are all the same one."""
    frames = np.random.default_rng(0).integers(0, 256, (num_clips, 1, size, size, 3), np.uint8)
    return np.repeat(frames, num_frames, axis=1)


DEVICE = {
    "jitter": lambda key, clips: jitter_colors(key, clips, strength=0.5),
    "erase": lambda key, clips: erase_boxes(key, clips, probability=1.0),
}


@pytest.mark.parametrize("name", DEVICE)
def test_all_frames_of_a_clip_get_the_same_and_clips_do_not(name):
    clips = np.repeat(still_clips(1), 3, axis=0)
    changed = np.asarray(DEVICE[name](jax.random.key(1), clips))
    np.testing.assert_allclose(changed, np.repeat(changed[:, :1], 4, axis=1), atol=1e-3)
    assert np.abs(changed[0] - changed[1]).max() > 1
    assert changed.min() >= 0
    assert changed.max() <= 255


@pytest.mark.parametrize("name", DEVICE)
def test_the_key_decides_and_jit_changes_nothing(name):
    clips = still_clips()
    one, two = (np.asarray(DEVICE[name](jax.random.key(seed), clips)) for seed in (1, 2))
    assert np.abs(one - two).max() > 1
    np.testing.assert_allclose(jax.jit(DEVICE[name])(jax.random.key(1), clips), one, atol=1e-3)


def test_colours_stay_as_they_are_at_strength_0():
    clips = still_clips()
    np.testing.assert_allclose(jitter_colors(jax.random.key(0), clips, strength=0.0), clips, atol=1e-3)


def test_gray_stays_gray_under_colour_jitter():
    clips = np.repeat(still_clips()[..., :1], 3, axis=-1)
    changed = np.asarray(jitter_colors(jax.random.key(0), clips, strength=0.8))
    np.testing.assert_allclose(changed, np.repeat(changed[..., :1], 3, axis=-1), atol=1e-2)


def test_as_many_clips_lose_a_box_as_the_probability_says_and_it_is_a_box():
    clips = jnp.asarray(np.repeat(still_clips(1, 1), 400, axis=0))
    changed = np.asarray(erase_boxes(jax.random.key(0), clips, probability=0.3))
    lost = (changed != np.asarray(clips)).any(-1)[:, 0]
    assert 0.2 < lost.any((1, 2)).mean() < 0.4
    for mask in lost[lost.any((1, 2))]:
        rows, columns = mask.any(1), mask.any(0)
        np.testing.assert_array_equal(mask, rows[:, None] & columns[None])
        assert mask.mean() < 0.34 + 0.1  # whole pixels


def test_nothing_is_erased_at_probability_0():
    clips = still_clips()
    np.testing.assert_array_equal(erase_boxes(jax.random.key(0), clips, probability=0.0), clips)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), num_ops=st.integers(0, 3), magnitude=st.floats(0, 10))
def test_rand_augment_does_the_same_to_all_frames_and_draws_the_same_numbers(seed, num_ops, magnitude):
    clip = still_clips(1)[0]
    rng, other = np.random.default_rng(seed), np.random.default_rng(seed)
    changed = rand_augment(rng, clip, num_ops=num_ops, magnitude=magnitude)
    assert (changed.shape, changed.dtype) == (clip.shape, np.uint8)
    np.testing.assert_array_equal(changed, np.repeat(changed[:1], 4, axis=0))
    other.random(2 * num_ops)
    assert rng.random() == other.random()


def test_rand_augment_changes_more_with_the_magnitude_and_nothing_without_operations():
    clip = still_clips(1)[0]

    def change(magnitude, num_ops=1):
        rngs = (np.random.default_rng(seed) for seed in range(60))
        changed = [rand_augment(rng, clip, num_ops=num_ops, magnitude=magnitude) for rng in rngs]
        return np.abs(np.stack(changed).astype(int) - clip).mean()

    assert change(10.0, num_ops=0) == 0
    assert change(0.0) < 1
    assert change(1.0) < change(4.0) < change(10.0)
