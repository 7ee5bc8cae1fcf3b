"""Files that reach outside or never end, through all that opens files: each becomes one line, in bounded time."""

import csv
import gc
import json
import os
import re
import signal
import subprocess
import threading
import time

import av
import numpy as np
import pytest
from hostile_media import (
    SPECIAL,
    TEXTS,
    Listener,
    write_attacks,
    write_endless,
    write_with_late_sound,
    write_without_first_keyframe,
)
from made_videos import numbered_frames, write_video
from processes import CONFIG, arguments, error_line, in_this_process
from video_files import write_folder

from vjax.cli.main import main
from vjax.data import decode
from vjax.data.container import CONTAINERS
from vjax.data.decode import Limits, VideoError, probe, read_frames, read_video
from vjax.data.sources import open_source
from vjax.data.stream import is_stream
from vjax.errors import InputError
from vjax.spec import Choice

READERS = {
    "probe": probe,
    "read_frames": lambda path: read_frames(path, [0]),
    "read_video": read_video,
    "iterate_video": lambda path: list(decode.iterate_video(path)),
    "frame_rate": decode.frame_rate,
}


@pytest.fixture(scope="module")
def listener():
    listening = Listener()
    yield listening
    listening.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory, listener):
    """A folder of videos with a class of its own for what attacks, beside a video that is one."""
    root = write_folder(tmp_path_factory.mktemp("hostile_media") / "videos", groups=("ann", "bob"))
    write_attacks(root / "attacks", listener)
    for name in ("ok1.mp4", "ok2.mp4"):
        write_video(root / "attacks" / name, numbered_frames(12))
    return root


@pytest.fixture(scope="module")
def attacks(root):
    """The names of what doctor and the others have to list: all but a folder, which no listing takes for a file."""
    return {f"attacks/{name}" for name in (*TEXTS, *SPECIAL) if name != "folder.mp4"}


@pytest.mark.parametrize("name", ["near.m3u8", "near.ffconcat", "concat.mp4"])
def test_the_traps_are_there(root, name):
    """A plain open reads their neighbour."""
    with av.open(str(root / "attacks" / name)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 20


@pytest.mark.parametrize("reader", READERS)
def test_what_reaches_outside_is_refused_by_name(root, listener, reader):
    started = time.monotonic()
    for name in (*TEXTS, *SPECIAL):
        path = root / "attacks" / name
        with pytest.raises(VideoError, match=re.escape(f"{path}: ")):
            READERS[reader](path)
    assert time.monotonic() - started < 5
    assert not listener.was_called()


@pytest.mark.parametrize("protocol", ["http://127.0.0.1:{port}/x.mp4", "tcp://127.0.0.1:{port}", "file:{far}"])
def test_an_address_is_a_name_of_no_file(root, listener, protocol):
    address = protocol.format(port=listener.port, far=root.parent / "outside" / "far.ts")
    with pytest.raises(VideoError, match=re.escape(f"{address}: no such file")):
        probe(address)
    assert not listener.was_called()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *((name, "it is not a regular file") for name in ("pipe.mp4", "to_pipe.mp4", "socket.mp4", "zero.mp4")),
        ("folder.mp4", "it is not a regular file"),
        ("dangling.mp4", "no such file"),
        ("concat.mp4", "holds no video stream in one of asf, avi, "),
    ],
)
def test_the_reason_is_said(root, name, why):
    with pytest.raises(VideoError, match=re.escape(why)):
        probe(root / "attacks" / name)


def test_a_listed_container_is_told_by_its_content_and_not_by_its_name(tmp_path):
    path = write_video(tmp_path / "x.mkv", numbered_frames(6))
    other = path.rename(tmp_path / "x.m3u8")
    assert probe(other).num_frames == 6


def test_every_listed_container_is_known_to_this_ffmpeg():
    for name in CONTAINERS:
        assert av.ContainerFormat(name, "r").is_input


def test_the_commands_list_every_attack_and_open_none(root, attacks, listener, tmp_path, capsys):
    main(["doctor", str(root), "--json", str(tmp_path / "doctor.json")])
    facts = json.loads((tmp_path / "doctor.json").read_text())
    assert {entry["name"] for entry in facts["unreadable"]} == attacks
    main(["prepare", str(root), "--out", str(tmp_path / "store"), "--workers", "0"])
    with (tmp_path / "store" / "index.csv").open(newline="") as stream:
        assert {row["name"] for row in csv.DictReader(stream) if row["reason"]} == attacks
    source = open_source(Choice("videos", root=str(root)), seed=0, max_bad_share=0.95)
    assert {video.name for video in source.bad_videos} == attacks
    with pytest.raises(InputError, match="more than max_bad_share"):
        open_source({"name": "videos", "root": str(root)}, seed=0)
    for name in ("playlist.mp4", "pipe.mp4"):
        words = ["filter", str(root / "attacks" / name), "--op", "foreground", "--out", str(tmp_path / "x.gif")]
        assert main(words) == 2
        assert f"{name}: " in capsys.readouterr().err.splitlines()[-1]
    assert not listener.was_called()


def test_a_manifest_lists_its_attacks_too(root, attacks, listener):
    rows = ["attacks/ok1.mp4,a,train", "attacks/ok2.mp4,a,test", *(f'"{name}",a,train' for name in sorted(attacks))]
    manifest = root / ".manifest.csv"
    manifest.write_text("path,label,split\n" + "\n".join(rows) + "\n")
    source = open_source(Choice("videos", root=str(manifest)), seed=0, max_bad_share=0.99)
    assert {video.name for video in source.bad_videos} == attacks
    assert not listener.was_called()


@pytest.mark.slow
def test_training_and_prediction_name_the_attacks_and_go_on(root, attacks, listener, tmp_path):
    words = (f"--config.source.root={root}", "--config.max_bad_share=0.95", "--workdir", tmp_path / "run")
    assert in_this_process("train.py", "--config", f"{CONFIG}:tiny", *words).returncode == 0
    with (tmp_path / "run" / "bad_videos.csv").open(newline="") as stream:
        assert {row["name"] for row in csv.DictReader(stream)} == attacks
    # A pipe or an address on the command line is a stream, which is asked for by its name alone.
    paths = [root / name for name in sorted(attacks) if not is_stream(str(root / name))]
    assert len(paths) > 5
    done = in_this_process("vjax", "predict", tmp_path / "run", root / "fall" / "ann.mp4", *paths)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    for path in paths:
        assert sum(line.startswith(f"error: {path}: ") for line in lines) == 1
    assert "ann.mp4" in done.stdout
    done = in_this_process("vjax", "predict", tmp_path / "run", listener.url)
    assert f"{listener.url} is an address; give --allow-url to open it" in error_line(done)
    assert not listener.was_called()


def test_frames_before_the_first_keyframe_are_read_whatever_the_table_says(tmp_path):
    path = write_without_first_keyframe(tmp_path / "x.mp4")
    info = probe(path)
    assert info.num_frames == 17
    assert info.seeks is not None
    assert info.seeks.keyframes.tolist() == [3, 7, 11, 15]  # the trap is there
    frames = read_video(path)
    for wanted in ([0], [0, 14], [2, 3], [1, 16], [14], range(17)):
        np.testing.assert_array_equal(read_frames(path, wanted, seeks=info.seeks), frames[list(wanted)])


def test_a_table_of_another_file_changes_no_frame(tmp_path):
    path = write_video(tmp_path / "x.mp4", numbered_frames(20), options={"crf": "0", "g": "5"})
    seeks = probe(write_without_first_keyframe(tmp_path / "other.mp4")).seeks
    for wanted in ([0], [0, 14], [16], [3, 19]):
        np.testing.assert_array_equal(read_frames(path, wanted, seeks=seeks), read_video(path)[wanted])


def test_a_stream_that_begins_late_does_not_end_the_video(tmp_path):
    path = write_with_late_sound(tmp_path / "x.flv")
    with av.open(str(path)) as container:
        assert len(container.streams) == 1  # the trap is there: PyAV 18 raises an IndexError at the end
    assert probe(path).num_frames == len(read_video(path)) == 120


SOON = Limits(open_s=0.3, wall_s=0.3)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("x.mpg", "x.mpg: does not open in 0.3 s"),
        ("x.avi", "x.avi: decoding takes more than 0.3 s; 12 frames were decoded"),
        ("x.mkv", r"x.mkv: decoding takes more than 0.3 s; \d+ frames were decoded"),
    ],
)
def test_opening_and_each_wait_for_bytes_have_a_deadline(tmp_path, name, why):
    path = write_endless(tmp_path / name)
    for read in (probe, read_video, lambda path, limits: read_frames(path, [500], limits=limits)):
        started = time.monotonic()
        with pytest.raises(VideoError, match=why):
            read(path, limits=SOON)
        assert time.monotonic() - started < 5


@pytest.fixture
def sigint():
    """SIGINT as a terminal has it; a shell's background jobs ignore it, and so do their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.disable()  # JAX's callback to it drops a KeyboardInterrupt that falls into it
    yield
    gc.enable()
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("sigint")
@pytest.mark.parametrize("name", ["x.mpg", "x.avi"])
def test_sigint_ends_the_wait_for_a_decoder(tmp_path, name):
    path = write_endless(tmp_path / name)
    for read in (probe, read_video, lambda path, limits: read_frames(path, [500], limits=limits)):
        started = time.monotonic()
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            read(path, limits=Limits(open_s=4, wall_s=4))  # ffmpeg's own threads end then
        assert time.monotonic() - started < 2


@pytest.mark.slow
@pytest.mark.usefixtures("sigint")
@pytest.mark.parametrize("words", [["doctor", "{root}"], ["prepare", "{root}", "--out", "{root}/../store"]])
def test_sigint_ends_a_command_that_waits_for_a_decoder(tmp_path, words):
    root = write_folder(tmp_path / "videos")
    write_endless(root / "fall" / "endless.mpg")
    words = [word.format(root=root) for word in words]
    process = subprocess.Popen(**arguments("vjax", *words), stderr=subprocess.PIPE, text=True, start_new_session=True)
    time.sleep(20)  # Python has started, and ffmpeg is inside its search for a start code
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    asked = time.monotonic()
    error = process.communicate(timeout=60)[1]
    assert time.monotonic() - asked < 15
    assert process.returncode == 130
    assert "interrupted; the same command continues a training run from its newest checkpoint" in error.splitlines()
