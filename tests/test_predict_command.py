import csv
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from processes import error_line, in_this_process, unwrapped

from vjax import InputError
from vjax.cli import predict as predict_command
from vjax.cli.predict import describe
from vjax.cli.prediction_files import PredictionFile
from vjax.cli.timeline import _folders
from vjax.cli.timeline_files import subtitles
from vjax.cli.videos import find_videos
from vjax.data.decode import probe
from vjax.evaluation.predict import ClipPrediction, Prediction
from vjax.evaluation.segments import Segment


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder `videos`, in the current directory, with files at two depths, hidden ones and a name with a bracket."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.mp4", "a.avi", "[1].mp4", "deep/er/c.mp4", ".hidden.mp4", ".cache/d.mp4", "deep/.e.mp4"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return "videos"


def make_prediction(name, probs, names=("a", "b"), num_clips=1):
    clips = [ClipPrediction(0.5 * i, 0.5 * i + 2.0, probs) for i in range(num_clips)]
    return Prediction(name, probs, clips, tuple(names))


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
    names = ["run", "walk", "sit"]
    one, other = (
        make_prediction("new.mp4", np.array([0.05, 0.93, 0.009]), names),
        make_prediction("a/longer.mp4", np.array([1.0, 0.0, 0.0]), names),
    )
    assert describe(one, clips=False, width=12) == ["new.mp4       walk 0.93, run 0.05"]
    assert describe(other, clips=False, width=12) == ["a/longer.mp4  run 1.00"]


@pytest.mark.parametrize("probs", [[0.45, 0.55], [np.nan, np.nan]])
def test_a_video_below_the_threshold_is_none_of_the_classes(probs):
    (line,) = describe(make_prediction("new.mp4", np.array(probs)), clips=False, threshold=0.6)
    assert line.startswith("new.mp4  none of these (")
    (line,) = describe(make_prediction("new.mp4", np.array([0.4, 0.6])), clips=False, threshold=0.6)
    assert line == "new.mp4  b 0.60, a 0.40"


def test_clips_come_below_their_video():
    (line, *clips) = describe(make_prediction("new.mp4", np.array([0.25, 0.75]), num_clips=2), clips=True)
    assert line == "new.mp4  b 0.75, a 0.25"
    assert clips == ["     0.0 s to    2.0 s  b 0.75, a 0.25", "     0.5 s to    2.5 s  b 0.75, a 0.25"]


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=30))
def test_the_first_class_is_always_shown_and_at_most_five_are(weights):
    probs = np.array(weights) / sum(weights)
    (line,) = describe(make_prediction("x", probs, [f"class{i}" for i in range(len(probs))]), clips=False)
    shown = re.findall(r"class(\d+) (\d\.\d\d)", line)
    assert 1 <= len(shown) <= 5
    assert int(shown[0][0]) == probs.argmax()
    assert all(float(probability) == pytest.approx(probs[int(i)], abs=0.0051) for i, probability in shown)


def test_a_name_that_is_not_utf_8_can_be_printed():
    (line,) = describe(make_prediction(os.fsdecode(b"caf\xe9.mp4"), np.array([1.0]), ["a"]), clips=False)
    assert line.encode("utf-8") == b"caf\\udce9.mp4  a 1.00"


def test_videos_of_one_name_get_folders_of_their_own():
    assert _folders("out", ["a/x.mp4", "b/x.avi", "x.mp4", "y.mp4"]) == [
        Path("out/x"),
        Path("out/x_2"),
        Path("out/x_3"),
        Path("out/y"),
    ]


def test_subtitles_are_those_of_subrip():
    segments = [Segment(0.0, 1.5, 0, 0.9), Segment(3661.25, 3662.0, 1, 0.5)]
    assert subtitles(segments, ["walk", "two\nlines"]) == (
        "1\n00:00:00,000 --> 00:00:01,500\nwalk (0.90)\n\n"
        "2\n01:01:01,250 --> 01:01:02,000\ntwo lines (0.50)\n"
    )  # fmt: skip


def test_a_timeline_has_tables_segments_subtitles_and_a_picture(run_of_levels, tmp_path):
    base = run_of_levels
    words = [base / "run", base / "text.mp4", base / "long.mp4", "--timeline", tmp_path / "out", "--enter", "0.01"]
    done = in_this_process("vjax", "predict", *words)
    assert done.returncode == 2
    assert "text.mp4: no video can be opened" in done.stderr
    assert re.search(
        r"1 video, \d+ clips in [\d.]+ s: .* clips/s; the network took \d+% of the time", unwrapped(done.stderr)
    )
    with (tmp_path / "out/long/probs.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert float(rows[-1]["end_s"]) == pytest.approx(10, abs=0.5)
    assert all(float(row["fall"]) + float(row["rise"]) == pytest.approx(1, abs=1e-4) for row in rows)
    found = json.loads((tmp_path / "out/long/segments.json").read_text())
    assert found["video"] == str(base / "long.mp4")
    assert found["segments"]
    assert f"long.mp4: {len(rows)} windows, {len(found['segments'])} segment" in done.stdout
    assert (tmp_path / "out/long/segments.srt").read_text().count("-->") == len(found["segments"])
    with (tmp_path / "out/long/segments.csv").open(newline="") as stream:
        assert [row["class"] for row in csv.DictReader(stream)] == [row["class"] for row in found["segments"]]
    assert Image.open(tmp_path / "out/long/probs.png").size[0] > 500


def test_json_lines_grow_with_the_videos_and_hold_all_classes(run_of_levels, tmp_path):
    base, out = run_of_levels, tmp_path / "new" / "p.jsonl"
    done = in_this_process("vjax", "predict", base / "run", base / "videos", base / "text.mp4", "--out", out)
    assert done.returncode == 2
    entries = [json.loads(line) for line in out.read_text().splitlines()]
    assert [entry["name"] for entry in entries] == [line.split()[0] for line in done.stdout.splitlines()]
    assert {label["class"] for label in entries[0]["ranked"]} == {"fall", "rise"}


def test_many_videos_are_opened_some_at_a_time(run_of_levels, monkeypatch):
    opened = []
    real = predict_command.open_videos

    def open_some(paths):
        opened.append(len(paths))
        return real(paths)

    monkeypatch.setattr(predict_command, "_AT_ONCE", 3)
    monkeypatch.setattr(predict_command, "open_videos", open_some)
    done = in_this_process("vjax", "predict", run_of_levels / "run", run_of_levels / "videos", "--json")
    assert len(json.loads(done.stdout)) == sum(opened) > 3
    assert max(opened) == 3


def test_a_video_that_vanishes_after_it_was_opened_is_named_and_the_others_are_predicted(
    run_of_levels, tmp_path, monkeypatch
):
    folder = shutil.copytree(run_of_levels / "videos", tmp_path / "videos")
    first, *others = sorted(folder.rglob("*.mp4"))
    real = predict_command.open_videos

    def open_and_lose(paths):
        videos = real(paths)
        first.unlink()
        return videos

    monkeypatch.setattr(predict_command, "open_videos", open_and_lose)
    done = in_this_process("vjax", "predict", run_of_levels / "run", folder, "--json")
    assert done.returncode == 2
    assert [entry["name"] for entry in json.loads(done.stdout)] == list(map(str, others))
    assert f"error: {first}: no such file" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--json"], "--timeline writes files of its own; leave out --json, --clips and --out"),
        (["--hop", "0"], "a window must move by 1 frame or more, got 0"),
        (["--enter", "0.3", "--leave", "0.5"], "segments need 0 < leave <= enter <= 1"),
        (["--min-length", "nan"], "the shortest segment must have 0 seconds or more, got nan"),
        (["--annotate", "x.avi"], "x.avi: a video with texts is an .mp4 file"),
    ],
)
def test_options_of_a_timeline_that_do_not_fit_are_explained(run_of_levels, tmp_path, words, message):
    base = run_of_levels
    done = in_this_process("vjax", "predict", base / "run", base / "long.mp4", "--timeline", tmp_path / "out", *words)
    assert message in done.stderr
    assert done.returncode == 2


def test_an_annotated_video_has_all_frames(run_of_levels, tmp_path):
    base, out = run_of_levels, tmp_path / "shown.mp4"
    words = [base / "run", base / "long.mp4", "--timeline", tmp_path / "out", "--enter", "0.01", "--annotate", out]
    done = in_this_process("vjax", "predict", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(out)
    assert probe(out).num_frames == 250


def test_an_option_of_timelines_alone_is_refused(run_of_levels):
    words = ["vjax", "predict", run_of_levels / "run", run_of_levels / "long.mp4", "--min-length", "2"]
    assert "--min-length belongs to --timeline DIR; give that too" in error_line(in_this_process(*words))


def test_the_file_has_each_video_before_the_next_one_is_predicted(tmp_path):
    with PredictionFile(str(tmp_path / "p.jsonl"), None) as output:
        for count, name in enumerate(("x.mp4", "y.mp4"), start=1):
            output.write(make_prediction(name, np.array([0.25, 0.75])))
            assert len((tmp_path / "p.jsonl").read_text().splitlines()) == count


def test_annotating_needs_a_timeline_of_one_video(run_of_levels, tmp_path):
    base = run_of_levels
    words = ["vjax", "predict", base / "run", base / "long.mp4", "--annotate", tmp_path / "x.mp4"]
    assert "--annotate belongs to --timeline DIR; give that too" in error_line(in_this_process(*words))
    words = [*words[:4], base / "text.mp4", *words[4:], "--timeline", tmp_path]
    assert "--annotate writes one video, and 2 were given" in error_line(in_this_process(*words))
