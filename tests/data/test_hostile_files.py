"""Five hundred hostile files through all that reads video: never a crash, a hang or a silently wrong frame."""

import csv
import json
import re
import time

import numpy as np
import pytest
from hostile_files import write_hostile
from made_videos import numbered_frames, write_video
from processes import ROOT, command
from video_files import write_folder

from vjax.data.decode import Limits, VideoError, probe, read_frames, read_video

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
        with pytest.raises(VideoError, match=re.escape(str(path))):
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
        (Limits(wall_s=-1.0), "x.mp4: 0 frames decode in -1 s, and then time is up"),
    ],
)
def test_decoding_is_bounded(tmp_path, limits, message):
    path = write_video(tmp_path / "x.mp4", numbered_frames(6))
    for read in (probe, read_video, lambda path, limits: read_frames(path, [5], limits=limits)):
        with pytest.raises(VideoError, match=message):
            read(path, limits=limits)


@pytest.mark.slow
def test_five_hundred_hostile_files_go_through_every_command(tmp_path):
    root = write_folder(tmp_path / "videos", labels=("a", "z"), groups=[f"g{i}" for i in range(20)])
    paths = write_hostile(root / "b", count=COUNT)
    bad = {f"b/{path.name}" for path in paths if not check(path)}
    assert 100 < len(bad) < COUNT

    command("vjax", "doctor", root, "--json", tmp_path / "doctor.json")
    facts = json.loads((tmp_path / "doctor.json").read_text())
    assert {entry["name"] for entry in facts["unreadable"]} == bad
    assert all(entry["name"] in entry["reason"] for entry in facts["unreadable"])

    command("vjax", "prepare", root, "--out", tmp_path / "store", "--workers", 2)
    with (tmp_path / "store/index.csv").open(newline="") as stream:
        assert {row["name"] for row in csv.DictReader(stream) if row["reason"]} == bad

    for name, source in (("files", root), ("store", tmp_path / "store")):
        workdir = tmp_path / name
        words = (f"--config.source.root={source}", "--config.source.max_bad_share=0.9", "--workdir", workdir)
        command("train.py", "--config", f"{ROOT}/configs/folder.py:tiny", *words)
        with (workdir / "bad_videos.csv").open(newline="") as stream:
            assert {row["name"] for row in csv.DictReader(stream)} == bad

    done = command("vjax", "predict", tmp_path / "files", *paths, "--json", check=False)
    assert done.returncode == 2
    assert {row["name"] for row in json.loads(done.stdout)} == {str(p) for p in paths if f"b/{p.name}" not in bad}
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(bad)
