"""Five hundred hostile files through all that reads video: never a crash, a hang or a silently wrong frame."""

import csv
import json
import re
import time

import numpy as np
import pytest
from hostile_files import write_hostile
from made_videos import numbered_frames, write_video
from mutated_videos import CONTAINERS, KINDS, write_mutated
from processes import ROOT, command, in_this_process
from video_files import write_folder

from vjax.data.decode import Limits, VideoError, probe, read_frames, read_video
from vjax.data.transforms import TestView, TrainView
from vjax.data.video import open_video
from vjax.ops.sampling import ClipTiming

COUNT = 500


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "b"
    return write_hostile(folder, count=60)


def check(path):
    """Whether a file is read; if so, all ways of reading agree."""
    started = time.monotonic()
    try:
        info = probe(path)
    except VideoError:
        with pytest.raises(VideoError, match=rf"\A{re.escape(str(path))}: [^\n]+\Z"):
            read_video(path)
        return False
    finally:
        assert time.monotonic() - started < 20
    frames = read_video(path)
    assert frames.shape == (info.num_frames, info.height, info.width, 3)
    chosen = np.random.default_rng(0).integers(0, info.num_frames, 4)
    np.testing.assert_array_equal(read_frames(path, chosen, seeks=info.seeks), frames[chosen])
    np.testing.assert_array_equal(read_frames(path, chosen), frames[chosen])
    return True


def test_a_file_is_read_whole_or_refused_by_name(hostile):
    read = {path.name: check(path) for path in hostile}
    assert all(read[name] for name in ("h264.mp4", "h264.mkv", "mpeg4.avi", "vp9.mkv"))
    assert all(read[name] for name in ("one_frame.mp4", "wide.avi", "uneven.mkv"))
    assert not any(read[name] for name in ("empty.mp4", "text.mp4", "text.txt", "noise.avi", "sound.mp4"))
    assert sum(not ok for name, ok in read.items() if name[0] == "0") > 5


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(num_frames=4), "x.mp4: has more than 4 frames; cut it into shorter videos"),
        (Limits(num_pixels=300), "x.mp4: a frame of 24 x 16 is more than 300 pixels; scale the video down"),
        (Limits(wall_s=-1.0), "x.mp4: decoding takes more than -1 s; 0 frames were decoded"),
    ],
)
def test_decoding_is_bounded(tmp_path, limits, message):
    path = write_video(tmp_path / "x.mp4", numbered_frames(6))
    for read in (probe, read_video, lambda path, limits: read_frames(path, [5], limits=limits)):
        with pytest.raises(VideoError, match=message):
            read(path, limits=limits)


def check_clips(path):
    """Whether a file gives clips to training and test, whatever rate and times it claims."""
    try:
        video = open_video(path)
    except VideoError:
        return False
    view = TrainView(ClipTiming(4, fps=5.0), (8, 8))
    assert view(video, np.random.default_rng(0)).shape == (4, 8, 8, 3)
    assert TestView(view.timing, view.size)(video).shape == (5, 4, 8, 8, 3)
    return True


@pytest.fixture(scope="module")
def mutated(tmp_path_factory):
    """Every container with every kind of change, once."""
    return write_mutated(tmp_path_factory.mktemp("mutated") / "b", count=len(CONTAINERS) * len(KINDS))


def test_every_container_of_the_list_is_read(mutated):
    healthy, _ = mutated
    assert all(check(path) for path in healthy)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_changed_structure_is_a_video_or_one_line(mutated, kind):
    paths = [path for path in mutated[1] if f"_{kind}_" in path.name]
    assert len(paths) == len(CONTAINERS)
    read = [check(path) for path in paths]
    assert 0 < sum(read) < len(read)
    assert [check_clips(path) for path in paths] == read


@pytest.mark.slow
def test_a_thousand_files_of_changed_structure_are_videos_or_one_line_each(tmp_path):
    root = write_folder(tmp_path / "videos", labels=("a", "z"))
    started = time.monotonic()
    healthy, paths = write_mutated(root / "b", count=1000, seed=1)
    paths = [*healthy, *paths]
    bad = {f"b/{path.name}" for path in paths if not check(path)}
    assert {f"b/{path.name}" for path in paths if not check_clips(path)} == bad
    assert 200 < len(bad) < 800
    in_this_process("vjax", "doctor", root, "--json", tmp_path / "doctor.json")
    facts = json.loads((tmp_path / "doctor.json").read_text())
    assert {entry["name"] for entry in facts["unreadable"]} == bad
    assert time.monotonic() - started < 300


@pytest.mark.slow
def test_five_hundred_hostile_files_go_through_every_command(tmp_path):
    root = write_folder(tmp_path / "videos", labels=("a", "z"), groups=[f"g{i}" for i in range(20)])
    paths = write_hostile(root / "b", count=COUNT)
    bad = {f"b/{path.name}" for path in paths if not check(path)}
    listed = bad - {"b/text.txt"}  # a note is not listed
    assert 100 < len(bad) < COUNT

    command("vjax", "doctor", root, "--json", tmp_path / "doctor.json")
    facts = json.loads((tmp_path / "doctor.json").read_text())
    assert {entry["name"] for entry in facts["unreadable"]} == listed
    assert all(entry["name"] in entry["reason"] for entry in facts["unreadable"])

    command("vjax", "prepare", root, "--out", tmp_path / "store", "--workers", 2)
    with (tmp_path / "store/index.csv").open(newline="") as stream:
        assert {row["name"] for row in csv.DictReader(stream) if row["reason"]} == listed

    for name, source in (("files", root), ("store", tmp_path / "store")):
        workdir = tmp_path / name
        words = (f"--config.source.root={source}", "--config.max_bad_share=0.9", "--workdir", workdir)
        command("train.py", "--config", f"{ROOT}/configs/folder.py:tiny", *words)
        with (workdir / "bad_videos.csv").open(newline="") as stream:
            assert {row["name"] for row in csv.DictReader(stream)} == listed

    done = command("vjax", "predict", tmp_path / "files", *paths, "--json", check=False)
    assert done.returncode == 2
    assert {row["name"] for row in json.loads(done.stdout)} == {str(p) for p in paths if f"b/{p.name}" not in bad}
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(bad)
