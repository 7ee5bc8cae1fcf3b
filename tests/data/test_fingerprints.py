"""Fingerprints of videos, and the pairs of similar scenes."""

import numpy as np
import pytest

from vjax.data import fingerprints
from vjax.data.fingerprints import Fingerprint, frames_at, most_similar, similar_scenes, take_fingerprint
from vjax.data.video import Video


def made(num_frames, fps):
    levels = np.arange(num_frames, dtype=np.uint8)
    return Video("v", 0, num_frames, fps, lambda i: np.broadcast_to(levels[i, None, None, None], (len(i), 48, 64, 3)))


@pytest.mark.parametrize(("num_frames", "fps"), [(1, 25.0), (100, 25.0), (250, 30.0), (20, 5.0)])
def test_a_fingerprint_has_five_frames_of_all_and_the_first_ones_at_its_rate(num_frames, fps):
    found = take_fingerprint(made(num_frames, fps))
    assert (found.scene.shape, found.scene.dtype) == ((5, 24, 32), np.uint8)
    spread = np.linspace(0, num_frames - 1, 5).round()
    np.testing.assert_array_equal(found.scene[:, 0, 0], spread)
    first = [index for index in (int(i * fps / 12.5 + 1e-6) for i in range(64)) if index < num_frames]
    np.testing.assert_array_equal(found.motion[:, 0, 0], first)


def test_frames_from_a_time_on_follow_the_clock():
    assert frames_at(made(100, 30.0), start_s=1.0, fps=15.0, most=4).tolist() == [30, 32, 34, 36]
    assert frames_at(made(32, 30.0), start_s=1.0, fps=15.0, most=4).tolist() == [30]


def random_prints(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Fingerprint(rng.integers(0, 256, (5, 24, 32), np.uint8), np.zeros((1, 12, 16), np.uint8)) for _ in range(count)
    ]


@pytest.mark.parametrize("block", [1, 3, 512])
def test_similar_scenes_are_all_pairs_above_the_correlation(monkeypatch, block):
    monkeypatch.setattr(fingerprints, "_BLOCK", block)
    prints = random_prints(5)
    prints += [
        Fingerprint(prints[1].scene, prints[1].motion),
        Fingerprint(prints[3].scene[..., ::-1], prints[3].motion),
    ]
    found = most_similar(similar_scenes(prints, lowest=0.9), most=10)
    pairs = set(zip(*(column.tolist() for column in found[:3]), strict=True))
    assert pairs == {(1, 5, False), (3, 6, True)}
    np.testing.assert_allclose(found.similarity, 1, atol=1e-5)


def test_a_correlation_is_that_of_numpy():
    prints = random_prints(4)
    found = most_similar(similar_scenes(prints, lowest=-2.0), most=100)
    assert len(found.first) == 12
    for first, second, mirrored, similarity in zip(*found, strict=True):
        other = prints[first].scene[..., ::-1] if mirrored else prints[first].scene
        expected = np.corrcoef(other.ravel(), prints[second].scene.ravel())[0, 1]
        assert similarity == pytest.approx(expected, abs=1e-4)


def test_of_many_pairs_the_most_similar_ones_are_kept():
    every = most_similar(similar_scenes(random_prints(12), lowest=-2.0), most=1000)
    few = most_similar(similar_scenes(random_prints(12), lowest=-2.0), most=7)
    np.testing.assert_array_equal(few.similarity, np.sort(every.similarity)[::-1][:7])


def test_a_video_of_one_colour_is_like_no_other():
    flat = Fingerprint(np.full((5, 24, 32), 90, np.uint8), np.zeros((1, 12, 16), np.uint8))
    assert len(most_similar(similar_scenes([flat, flat], lowest=0.5), most=10).first) == 0
