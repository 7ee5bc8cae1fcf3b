import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vjax.ops.clip_input import ClipInput, Normalization, frame_difference, temporal_median
from vjax.ops.filters import median_background


def random_clips(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("kind", ["rgb", "difference", "foreground"])
def test_an_input_has_the_shape_of_the_clips(kind):
    found = ClipInput(kind)(jnp.asarray(random_clips((2, 5, 4, 6, 3))))
    chex.assert_shape(found, (2, 5, 4, 6, 3))
    chex.assert_type(found, jnp.float32)


@pytest.mark.parametrize("num_frames", [1, 2, 7])
@pytest.mark.parametrize("kind", ["difference", "foreground"])
def test_a_still_clip_has_no_motion(kind, num_frames):
    frame = random_clips((3, 1, 4, 6, 3))
    still = jnp.asarray(np.repeat(frame, num_frames, axis=1))
    np.testing.assert_array_equal(ClipInput(kind)(still), np.zeros(still.shape))


@pytest.mark.parametrize("kind", ["difference", "foreground"])
def test_motion_does_not_depend_on_the_mean(kind):
    clips = jnp.asarray(random_clips((2, 5, 4, 6, 3)))
    one, other = (ClipInput(kind, Normalization(mean=(mean,) * 3))(clips) for mean in (0.0, 0.45))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_difference_is_that_to_the_frame_before():
    frames = jnp.asarray([1.0, 4.0, 2.0]).reshape(1, 3, 1, 1, 1)
    np.testing.assert_array_equal(frame_difference(frames)[0, :, 0, 0, 0], [3, 3, -2])


def test_the_foreground_is_the_difference_from_the_background():
    clips = random_clips((2, 9, 4, 6, 3))
    normalization = Normalization()
    still = normalization(jnp.asarray(median_background(clips)))
    expected = normalization(jnp.asarray(clips)) - still[:, None]
    np.testing.assert_allclose(ClipInput("foreground")(jnp.asarray(clips)), expected, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(num_frames=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_the_median_over_time_is_that_of_numpy(num_frames, seed):
    frames = random_clips((2, num_frames, 2, 3, 3), seed).astype(np.float32)
    np.testing.assert_array_equal(temporal_median(jnp.asarray(frames)), np.median(frames, axis=1))


@pytest.mark.parametrize("kind", ["rgb", "difference", "foreground"])
def test_an_input_is_the_same_in_a_compiled_function(kind):
    clips = jnp.asarray(random_clips((2, 5, 4, 6, 3)))
    np.testing.assert_allclose(jax.jit(ClipInput(kind))(clips), ClipInput(kind)(clips), atol=1e-5)
