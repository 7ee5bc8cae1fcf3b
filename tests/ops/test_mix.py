import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vjax.ops.mix import cutmix, mixup

shapes = st.tuples(*[st.integers(2, 5), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 3)])
seeds, alphas = st.integers(0, 2**32 - 1), st.floats(0.05, 4)
each_kind = pytest.mark.parametrize("mix", [mixup, cutmix])


def make_noise(shape, seed):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def make_numbered(shape):
    """Returns clips in which every pixel has the clip's number."""
    return np.broadcast_to(np.arange(shape[0], dtype=np.uint8).reshape(-1, 1, 1, 1, 1), shape).copy()


@given(shape=shapes, seed=seeds, alpha=alphas)
@settings(deadline=None, max_examples=40)
def test_mixup_blends_every_clip_with_the_one_before_it(shape, seed, alpha):
    clips = make_noise(shape, seed)
    mixed, share = mixup(np.random.default_rng(seed), clips, alpha=alpha)
    assert (mixed.shape, mixed.dtype) == (clips.shape, np.uint8)
    assert 0 <= share <= 1
    expected = share * clips + (1 - share) * np.roll(clips, 1, axis=0)
    assert np.abs(mixed - expected).max() <= 0.5 + 1e-3


@given(shape=shapes, seed=seeds, alpha=alphas)
@settings(deadline=None, max_examples=60)
def test_cutmix_pastes_one_box_of_the_clip_before_and_its_share_is_what_is_left(shape, seed, alpha):
    clips = make_numbered(shape)
    mixed, share = cutmix(np.random.default_rng(seed), clips, alpha=alpha)
    assert (mixed.shape, mixed.dtype) == (clips.shape, np.uint8)
    pasted = mixed != clips
    np.testing.assert_array_equal(mixed, np.where(pasted, np.roll(clips, 1, axis=0), clips))
    same = pasted[0, 0, :, :, 0]
    np.testing.assert_array_equal(pasted, np.broadcast_to(same[None, None, :, :, None], shape))
    box = np.outer(same.any(axis=1), same.any(axis=0))
    np.testing.assert_array_equal(same, box)
    for side in (same.any(axis=1), same.any(axis=0)):
        assert np.count_nonzero(np.diff(side, prepend=False)) <= 2  # in one piece
    assert share == pytest.approx(1 - same.mean(), abs=1e-9)


def test_what_cutmix_pastes_stays_where_it_was():
    clips = make_noise((3, 2, 8, 8, 3), 0)
    mixed, share = cutmix(np.random.default_rng(3), clips, alpha=1.0)
    assert 0 < share < 1
    own, partner = mixed == clips, mixed == np.roll(clips, 1, axis=0)
    assert (own | partner).all()


@each_kind
def test_the_clips_that_are_given_stay_as_they_are(mix):
    clips = make_noise((4, 2, 8, 8, 3), 0)
    before = clips.copy()
    mix(np.random.default_rng(0), clips, alpha=1.0)
    np.testing.assert_array_equal(clips, before)


@each_kind
def test_the_generator_decides_what_is_drawn(mix):
    clips = make_noise((4, 2, 8, 8, 3), 0)
    first, again, other = (mix(np.random.default_rng(seed), clips, alpha=1.0) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1] != other[1]


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_the_share_of_mixup_has_the_mean_and_the_variance_of_its_beta_distribution(alpha):
    rng, clips = np.random.default_rng(0), make_numbered((2, 1, 1, 1, 1))
    shares = [mixup(rng, clips, alpha=alpha)[1] for _ in range(2000)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(1 / (8 * alpha + 4), rel=0.1)


def test_a_box_of_cutmix_that_fits_the_frame_covers_one_minus_the_drawn_share():
    # Beta(alpha, alpha) with a large alpha is close to one half. A box in the middle of the frame is not cut off.
    rng, clips = np.random.default_rng(0), make_numbered((2, 1, 200, 100, 1))
    shares = [cutmix(rng, clips, alpha=1e6)[1] for _ in range(200)]
    assert min(shares) == pytest.approx(0.5, abs=0.02)
    assert max(shares) > 0.8, "a box at the border is cut off, and its clip keeps more"
