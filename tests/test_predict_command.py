import os
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjax import InputError
from vjax.cli.predict import describe
from vjax.cli.videos import find_videos
from vjax.evaluation.predict import ClipPrediction, Prediction


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder `videos`, in the current directory, with files at two depths, hidden ones and a name with a bracket."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.mp4", "a.avi", "[1].mp4", "deep/er/c.mp4", ".hidden.mp4", ".cache/d.mp4", "deep/.e.mp4"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return "videos"


def make_prediction(name, probs, num_clips=1):
    return Prediction(name, probs, [ClipPrediction(0.5 * i, 0.5 * i + 2.0, probs) for i in range(num_clips)])


def test_a_folder_stands_for_its_visible_files_sorted(folder):
    found = ["videos/[1].mp4", "videos/a.avi", "videos/b.mp4", "videos/deep/er/c.mp4"]
    assert find_videos([folder]) == found
    assert find_videos(["./videos/"]) == found


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("videos/*.mp4", ["videos/[1].mp4", "videos/b.mp4"]),
        ("videos/?.*", ["videos/a.avi", "videos/b.mp4"]),
        ("videos/[ab].*", ["videos/a.avi", "videos/b.mp4"]),
        ("videos/**/c.mp4", ["videos/deep/er/c.mp4"]),
        ("videos/**", ["videos/[1].mp4", "videos/a.avi", "videos/b.mp4", "videos/deep/er/c.mp4"]),
    ],
)
def test_a_pattern_stands_for_the_visible_files_that_match_it_sorted(folder, pattern, found):
    assert find_videos([pattern]) == found


def test_a_file_is_itself_even_if_it_is_hidden_or_its_name_is_a_pattern(folder):
    assert find_videos(["videos/[1].mp4", "videos/.hidden.mp4"]) == ["videos/[1].mp4", "videos/.hidden.mp4"]


def test_files_keep_the_order_of_the_arguments_and_come_once(folder):
    places = ["videos/deep", "videos/b.mp4", "videos", "videos/*.avi"]
    assert find_videos(places) == ["videos/deep/er/c.mp4", "videos/b.mp4", "videos/[1].mp4", "videos/a.avi"]


def test_a_missing_file_is_left_to_the_reader_which_names_it(folder):
    assert find_videos(["nowhere.mp4", "http://127.0.0.1:1/x.ts"]) == ["nowhere.mp4", "http://127.0.0.1:1/x.ts"]


def test_the_home_folder_can_be_written_as_a_tilde(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_videos(["~/videos/*.avi"]) == [f"{tmp_path}/videos/a.avi"]


def test_a_folder_or_a_pattern_without_files_is_an_error(folder):
    os.makedirs("empty/.git/x")
    with pytest.raises(InputError, match=r"^empty: the folder holds no files; give video files, folders of"):
        find_videos([folder, "empty"])
    with pytest.raises(InputError, match=r"^videos/\*\.mov: no file matches this pattern; .*such as 'videos/\*\.mp4'$"):
        find_videos([folder, "videos/*.mov"])


def test_a_video_is_one_line_with_its_most_probable_classes():
    predictions = [
        make_prediction("new.mp4", np.array([0.05, 0.93, 0.009])),
        make_prediction("a/longer.mp4", np.array([1.0, 0.0, 0.0])),
    ]
    assert describe(predictions, ["run", "walk", "sit"], clips=False) == [
        "new.mp4       walk 0.93, run 0.05",
        "a/longer.mp4  run 1.00",
    ]


def test_clips_come_below_their_video():
    (line, *clips) = describe([make_prediction("new.mp4", np.array([0.25, 0.75]), num_clips=2)], ["a", "b"], clips=True)
    assert line == "new.mp4  b 0.75, a 0.25"
    assert clips == ["     0.0 s to    2.0 s  b 0.75, a 0.25", "     0.5 s to    2.5 s  b 0.75, a 0.25"]


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=30))
def test_the_first_class_is_always_shown_and_at_most_five_are(weights):
    probs = np.array(weights) / sum(weights)
    (line,) = describe([make_prediction("x", probs)], [f"class{i}" for i in range(len(probs))], clips=False)
    shown = re.findall(r"class(\d+) (\d\.\d\d)", line)
    assert 1 <= len(shown) <= 5
    assert int(shown[0][0]) == probs.argmax()
    assert all(float(probability) == pytest.approx(probs[int(i)], abs=0.0051) for i, probability in shown)


def test_a_name_that_is_not_utf_8_can_be_printed():
    (line,) = describe([make_prediction(os.fsdecode(b"caf\xe9.mp4"), np.array([1.0]))], ["a"], clips=False)
    assert line.encode("utf-8") == b"caf\\udce9.mp4  a 1.00"
