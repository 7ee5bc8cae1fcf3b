"""Copies with other bytes are found; other videos of one scene are not held for copies."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from filmed_places import film, scene
from hypothesis import given, settings
from hypothesis import strategies as st
from made_videos import write_video

from vjax.data.copies import Copy, find_copies, motion_similarity
from vjax.data.fingerprints import take_fingerprints
from vjax.data.groups import propose_groups, with_proposed_groups
from vjax.data.listing import VideoFile
from vjax.data.video import Video, open_video

FPS = 25.0


def video(frames, name="v"):
    return Video(name, 0, len(frames), FPS, lambda indices: frames[indices])


def encoded(frames, quality):
    jpeg = [cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for frame in frames]
    return np.stack([cv2.imdecode(data, cv2.IMREAD_COLOR) for data in jpeg])


def cropped(frames, share):
    height, width = frames.shape[1:3]
    top, left = int(height * (1 - share) / 2), int(width * (1 - share) / 2)
    return frames[:, top : height - top, left : width - left]


def darker(frames):
    return (frames * 0.8 + 20).astype(np.uint8)


COPIES = {
    "encoded again": (lambda frames: encoded(frames, 40), False),
    "cropped by a twentieth": (lambda frames: cropped(frames, 0.95), False),
    "cut half a second later": (lambda frames: frames[13:], False),
    "the first half alone": (lambda frames: frames[:30], False),
    "of another brightness": (darker, False),
    "mirrored": (lambda frames: frames[:, :, ::-1], True),
    "mirrored, cropped and encoded again": (lambda frames: encoded(cropped(frames[:, :, ::-1], 0.95), 60), True),
}


def found_among(frames):
    videos = [video(np.ascontiguousarray(of_one)) for of_one in frames]
    return find_copies(videos, take_fingerprints(videos))


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_found_among_other_videos_of_the_same_scene(kind):
    change, mirrored = COPIES[kind]
    films = [film(place, actor) for place, actor in ((1, 1), (1, 2), (1, 3), (2, 4))]
    assert found_among([*films, change(films[1])]) == [Copy(1, 4, mirrored)]


def test_videos_of_one_scene_and_the_same_action_in_two_scenes_are_no_copies():
    films = [film(1, actor) for actor in range(8)] + [film(place, 1) for place in (2, 3)]
    assert found_among(films) == []


def test_a_still_video_is_no_copy():
    still = np.repeat(film(1, 1)[:1], 40, axis=0)
    assert found_among([still, still.copy()]) == []


def test_videos_of_a_few_frames_are_no_copies():
    assert found_among([film(1, 1)[:9], film(1, 1)[:9]]) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(9, 40), st.integers(9, 40), st.integers(0, 2**32 - 1))
def test_the_similarity_of_motion_is_the_largest_correlation_over_the_lags(num_here, num_there, seed):
    rng = np.random.default_rng(seed)
    here, there = (rng.random((count, 3, 4)) for count in (num_here, num_there))
    found, lag = motion_similarity(here, there)
    by_hand = {}
    shortest = max(8, -(-min(num_here, num_there) // 2))
    for s in range(-num_here, num_there + 1):
        first, second = here[max(0, -s) :], there[max(0, s) :]
        count = min(len(first), len(second))
        if count < shortest:
            continue
        a, b = (frames[:count] - frames[:count].mean(axis=0) for frames in (first, second))
        by_hand[s] = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    assert found == pytest.approx(max(by_hand.values()))
    assert by_hand[lag] == pytest.approx(found)


def test_a_shift_in_time_is_found_exactly():
    frames = np.random.default_rng(0).random((40, 6, 8))
    assert motion_similarity(frames, frames[7:]) == (pytest.approx(1.0), -7)
    assert motion_similarity(frames[7:], frames) == (pytest.approx(1.0), 7)


def test_videos_of_one_place_are_one_proposed_group_and_copies_join_it():
    places = [scene(place) for place in (1, 2, 1, 3)] + [scene(2)[:, ::-1]]
    rng = np.random.default_rng(0)
    films = [
        np.clip(place + rng.normal(0, 20, (20, *place.shape)), 0, 255).astype(np.uint8)[..., None].repeat(3, axis=-1)
        for place in places
    ]
    prints = take_fingerprints([video(frames) for frames in films])
    files = [VideoFile(Path(name), name, "x", "", "") for name in "abcde"]
    assert propose_groups(files, prints) == ["like a", "like b", "like a", "", "like b"]
    assert propose_groups(files, prints, [Copy(3, 4, False)]) == ["like a", "like b", "like a", "like b", "like b"]
    # A video joins the group that one like it has.
    files[2] = dataclasses.replace(files[2], group="ann")
    assert propose_groups(files, prints) == ["ann", "like b", "ann", "", "like b"]


def test_proposed_groups_are_kept_for_files_that_do_not_change(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    paths = [write_video(tmp_path / f"{number}.mp4", film(1, 1)) for number in range(2)]
    files = [VideoFile(path, path.name, "x", "", "") for path in paths]
    videos = [open_video(path) for path in paths]
    found = [file.group for file in with_proposed_groups(files, videos)]
    assert found == ["like 0.mp4"] * 2
    assert [file.group for file in with_proposed_groups(files, [])] == found  # nothing is read
    write_video(paths[1], film(2, 2))
    videos = [open_video(path) for path in paths]
    assert [file.group for file in with_proposed_groups(files, videos)] == ["", ""]


def test_no_videos_have_no_groups():
    assert propose_groups([], []) == []
    assert found_among([]) == []
