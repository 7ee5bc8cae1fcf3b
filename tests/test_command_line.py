"""Every command as a person runs it: a process, its output and its exit code."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from made_videos import write_video
from PIL import Image
from processes import CONFIG, ROOT, arguments, command, error_line, in_this_process, unwrapped
from saved_weights import save_zip
from video_files import write_folder

import vjax
from vjax.cli import filter, train
from vjax.cli import main as commands
from vjax.config_file import shipped_configs
from vjax.data.decode import read_video
from vjax.data.listing import list_manifest
from vjax.ops.filters import median_background
from vjax.weights.read import read_tensors


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that `train.py` has finished: (videos, workdir, the finished process)."""
    base = tmp_path_factory.mktemp("trained")
    root = write_folder(base / "videos")
    done = command("train.py", "--config", f"{CONFIG}:tiny", f"--config.source.root={root}", "--workdir", base / "run")
    return root, base / "run", done


def test_training_prints_its_progress_a_table_and_the_protocol(trained):
    _, workdir, done = trained
    assert "step 4/4" in done.stderr
    assert max(len(line) for line in done.stdout.splitlines() if str(workdir) not in line) <= 80
    assert re.search(r"\| video@1 +\|", done.stdout)
    assert "2 clips x 1 crop" in unwrapped(done.stdout)
    assert "| label \\ predicted | fall | rise | accuracy |" in done.stdout
    assert done.stdout.endswith(
        f"\nwork directory: {workdir}\npictures in it: confusion.png, curves.png, first_batch.gif\n"
        f"next: vjax evaluate {workdir} --clips 10\n      vjax predict {workdir} VIDEO\n"
    )
    wrong = json.loads((workdir / "result.json").read_text())["wrong"]
    assert all(f"  {video['name']}: {video['predicted']} (" in done.stdout for video in wrong)


def test_a_result_says_how_far_it_can_be_trusted(trained):
    _, _, done = trained
    assert re.search(r"video@1 lies between \d.\d+ and \d.\d+ \(95 % interval, 2 test videos\)", done.stdout)
    assert "2 test videos are too few to tell most networks apart" in unwrapped(done.stdout)
    assert re.search(r"\| chance +\| 0.500 \|", done.stdout)
    assert "video@5" not in done.stdout


@pytest.mark.parametrize("words", [["doctor"], ["prepare", "--out", "store", "--workers", "0"]])
def test_a_folder_that_exists_wins_over_a_dataset_of_that_name(tmp_path, monkeypatch, words):
    for name in ("videos", "ucf101"):
        write_folder(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    command, *options = words
    for name in ("videos", "ucf101"):
        options = ["--out", f"store_of_{name}", *options[2:]] if options else []
        assert in_this_process("vjax", command, name, *options).returncode == 0


def test_every_config_that_comes_with_vjax_is_listed_with_what_it_trains():
    lines = in_this_process("vjax", "configs").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    lines = [line for line in lines if not line.startswith(" ")]
    assert [line.split()[0] for line in lines] == list(shipped_configs())
    assert all(len(line.split()) > 5 for line in lines)


def test_vjax_train_takes_a_config_by_its_name_in_any_folder(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "clips")
    monkeypatch.chdir(tmp_path)
    done = in_this_process("vjax", "train", "--config", "folder:tiny", f"--config.source.root={root}")
    assert done.returncode == 0
    assert (tmp_path / "runs/folder_tiny/result.json").exists(), "a tiny run has a work directory of its own"


@pytest.mark.parametrize("words", [["train.py", "--config", f"{CONFIG}:tiny", "--workdir", "/proc/a/run"]])
def test_a_place_that_cannot_be_written_to_is_one_line(trained, words):
    root, _, _ = trained
    done = in_this_process(*words, f"--config.source.root={root}")
    assert error_line(done).startswith("error: /proc/a: No such file or directory; fix this and run the same command")


@pytest.mark.slow
def test_a_finished_run_is_made_longer(trained, tmp_path):
    root, workdir, _ = trained
    shutil.copytree(workdir, tmp_path / "run")
    words = ["train.py", "--config", f"{CONFIG}:tiny", f"--config.source.root={root}", "--workdir", tmp_path / "run"]
    done = command(*words, "--config.length=6")
    assert "the run is made longer: 4 before, 6 now. From step 5 on, the learning rate" in unwrapped(done.stderr)
    assert "step 6/6" in done.stderr
    assert "made longer at step 4, from a length of 4" in unwrapped(done.stdout)
    assert json.loads((tmp_path / "run/config.json").read_text())["length"] == 6
    assert (tmp_path / "run/result_of_step_4.json").read_text() == (workdir / "result.json").read_text()
    assert "holds a run of another config (config.length is 6 there and 4 here)" in error_line(in_this_process(*words))


def test_training_again_says_that_the_run_is_finished(trained):
    root, workdir, first = trained
    done = command("train.py", "--config", f"{CONFIG}:tiny", f"--config.source.root={root}", "--workdir", workdir)
    assert "holds a finished run" in done.stderr
    assert done.stdout == first.stdout


def test_evaluate_prints_tables_and_writes_every_answer(trained, tmp_path):
    _, workdir, _ = trained
    done = command(
        "vjax",
        "evaluate",
        workdir,
        "--clips",
        3,
        "--crops",
        3,
        "--json",
        tmp_path / "e.json",
        "--png",
        tmp_path / "e.png",
    )
    found = json.loads((tmp_path / "e.json").read_text())
    assert "3 clips x 3 crops" in unwrapped(done.stdout)
    assert "label \\ predicted" in done.stdout
    assert found["protocol"] in unwrapped(done.stdout)
    with Image.open(tmp_path / "e.png") as picture:
        assert picture.format == "PNG"
    assert found["protocol"].endswith("; newest checkpoint")
    assert " 0 unreadable; no validation split; split code " in found["protocol"]
    assert {"clip@1", "video@1", "video@1_interval", "loss", "class_accuracy", "confusion"} <= found.keys()
    assert len(found["videos"]) == found["num_videos"] == 2


def test_evaluate_says_that_a_run_is_not_finished(trained, tmp_path):
    _, workdir, _ = trained
    shutil.copytree(workdir, tmp_path / "cut_off")
    (tmp_path / "cut_off" / "result.json").unlink()
    done = command("vjax", "evaluate", tmp_path / "cut_off")
    for text in (unwrapped(done.stdout), done.stderr):
        assert "newest checkpoint of a run that is not finished, at step 4" in text


def test_a_run_says_first_what_it_is_going_to_do(trained):
    _, workdir, done = trained
    shown = done.stderr[: done.stderr.index("step 0/4")]
    assert max(len(line) for line in shown.splitlines() if str(workdir) not in line) <= 80
    lines = dict(line.split(maxsplit=1) for line in shown.replace("\n         ", " ").splitlines())
    assert lines["data"].startswith(
        "6 videos to train on, 0 to validate, 2 to test on, 2 classes; test split random, 20% of each class"
    )
    assert lines["clip"] == "8 frames at 5 fps, 16 x 16; batches of 8"
    assert re.fullmatch(r"slow_fusion on the backbone small, [\d,]+ parameters", lines["network"])
    assert lines["devices"] == "1 x cpu"
    assert lines["results"] == str(workdir)


def test_the_key_that_the_error_about_a_manifest_advises_works(tmp_path):
    root = write_folder(tmp_path / "videos")
    manifest = tmp_path / "lists" / "all.csv"
    manifest.parent.mkdir()
    rows = [f"{path},{path.parent.name}" for path in sorted(root.rglob("*.mp4"))]
    manifest.write_text("\n".join(["path,label", *rows]))
    train = [
        "train.py",
        "--config",
        f"{CONFIG}:tiny",
        f"--config.source.root={manifest}",
        "--workdir",
        tmp_path / "run",
    ]
    for words in (train, ["vjax", "doctor", manifest]):
        line = error_line(in_this_process(*words))
        (advised,) = [
            word for word in re.findall(r"--\S+=True", line) if word.startswith("--config.") == (words is train)
        ]
        assert in_this_process(*words, advised.rstrip(")")).returncode == 0


def test_split_writes_a_manifest_whose_split_stays_when_videos_are_added(tmp_path):
    root = write_folder(tmp_path / "videos")
    out = tmp_path / "split.csv"
    done = in_this_process("vjax", "split", root, "--out", out, "--seed", 3, r"--source.group=(\w+)\.mp4")
    assert done.returncode == 0
    assert "split.csv: 6 videos to train on, 0 to validate, 2 to test on; random, 20% of each class" in unwrapped(
        done.stdout
    )
    before = list(list_manifest(out))
    (root / "rise/new.mp4").write_bytes((root / "rise/ann.mp4").read_bytes())
    assert list(list_manifest(out)) == before
    assert {file.split for file in before} == {"train", "test"}
    assert {file.group for file in before} == {"ann", "bob", "cem", "dan"}
    assert in_this_process("vjax", "split", out, "--out", tmp_path / "again.csv").returncode == 0
    assert (tmp_path / "again.csv").read_text() == out.read_text()


def test_split_keeps_the_sides_of_an_older_manifest(tmp_path):
    root = write_folder(tmp_path / "videos", groups=[f"p{number}" for number in range(10)])
    assert in_this_process("vjax", "split", root, "--out", tmp_path / "old.csv").returncode == 0
    shutil.copy(root / "rise/p0.mp4", root / "rise/new.mp4")
    words = ["vjax", "split", root, "--out", tmp_path / "new.csv", "--keep", tmp_path / "old.csv"]
    assert in_this_process(*words).returncode == 0
    old, new = ({file.name: file.split for file in list_manifest(tmp_path / f"{name}.csv")} for name in ("old", "new"))
    assert set(old.values()) == {"train", "val", "test"}
    assert {name: new[name] for name in old} == old
    assert new.keys() - old.keys() == {"videos/rise/new.mp4"}


def test_a_manifest_away_from_its_videos_is_refused(tmp_path):
    root = write_folder(tmp_path / "a/videos")
    (tmp_path / "b").mkdir()
    line = error_line(in_this_process("vjax", "split", root, "--out", tmp_path / "b/split.csv"))
    assert "lies outside of" in line
    assert "write the manifest next to the videos" in line


def test_evaluate_finds_the_videos_from_any_folder_and_after_they_moved(tmp_path, monkeypatch):
    write_folder(tmp_path / "a/videos")
    monkeypatch.chdir(tmp_path / "a")
    words = ["--config", f"{CONFIG}:tiny", "--config.source.root=videos", "--workdir", tmp_path / "run"]
    assert in_this_process("train.py", *words).returncode == 0
    monkeypatch.chdir(tmp_path)
    expected = in_this_process("vjax", "evaluate", tmp_path / "run").stdout
    (tmp_path / "a/videos").rename(tmp_path / "moved")
    assert "'{}' does not exist".format(tmp_path / "a/videos") in error_line(
        in_this_process("vjax", "evaluate", tmp_path / "run")
    )
    moved = in_this_process("vjax", "evaluate", tmp_path / "run", "--source.root=moved")
    assert unwrapped(moved.stdout).replace(", read from videos with root=moved", "") == unwrapped(expected)


@pytest.mark.parametrize("lost", ["result.json", "checkpoints"])
def test_a_run_that_is_made_longer_without_its_result_or_its_checkpoints_says_so(trained, tmp_path, lost):
    root, workdir, _ = trained
    shutil.copytree(workdir, tmp_path / "run")
    path = tmp_path / "run" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    words = ["train.py", "--config", f"{CONFIG}:tiny", f"--config.source.root={root}", "--workdir", tmp_path / "run"]
    done = in_this_process(*words, "--config.length=6")
    if lost == "checkpoints":
        assert "holds a finished run whose checkpoints are gone, so it cannot be made longer" in error_line(done)
    else:
        assert "made longer at step 4, from a length of 4" in unwrapped(done.stdout)


def test_other_data_among_which_are_videos_of_the_run_is_refused(trained, tmp_path):
    _, workdir, _ = trained
    other = write_folder(tmp_path / "other", groups=("ann", "eve", "flo", "gus", "hal"))
    line = error_line(in_this_process("vjax", "evaluate", workdir, f"--source.root={other}"))
    assert f"only 2 of the 8 videos of {workdir} are there, such as 'fall/ann.mp4', next to 8 others. Give a" in line


def test_other_data_with_the_names_of_the_run_is_other_data(trained, tmp_path):
    root, workdir, _ = trained
    names = [path.stem for path in sorted((root / "rise").iterdir())]
    other = write_folder(tmp_path / "other", groups=[*names, "eve"], num_frames=20)
    (other / "rise/bad.mp4").write_bytes(b"no video")
    done = in_this_process("vjax", "evaluate", workdir, f"--source.root={other}")
    assert f"of other data than the run's: videos with root={other}; 10 of 11 videos, 1 unreadable" in unwrapped(
        done.stdout
    )


def test_the_videos_of_a_run_under_other_names_are_asked_about(trained, tmp_path):
    root, workdir, _ = trained
    shutil.copytree(root, tmp_path / "clips")
    manifest = tmp_path / "all.csv"
    assert in_this_process("vjax", "split", tmp_path / "clips", "--out", manifest).returncode == 0
    line = error_line(in_this_process("vjax", "evaluate", workdir, f"--source.root={manifest}"))
    assert "under other names: 'clips/fall/ann.mp4' here, 'fall/ann.mp4' there" in line


def test_other_options_of_a_dataset_without_names_are_other_data(tmp_path):
    words = ["--config", f"{ROOT}/configs/quickstart.py:tiny", f"--config.source.data_dir={tmp_path}/data"]
    assert in_this_process("train.py", *words, "--workdir", tmp_path / "run").returncode == 0
    same = in_this_process("vjax", "evaluate", tmp_path / "run", f"--source.data_dir={tmp_path}/moved")
    assert "other data" not in unwrapped(same.stdout)
    other = in_this_process("vjax", "evaluate", tmp_path / "run", "--source.data_seed=5")
    assert "of other data than the run's: moving_shapes with data_seed=5" in unwrapped(other.stdout)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--test-share", "20"], "config.test_share must lie in (0, 1), got 20"),
        (["--seed", "-1"], "config.seed must"),
        (["--held-out", "zoe"], "held_out='zoe': the videos have no groups; set the source's option group"),
    ],
)
def test_a_split_that_cannot_be_made_is_explained(tmp_path, words, message):
    root = write_folder(tmp_path / "videos")
    out = tmp_path / "split.csv"
    assert message in error_line(in_this_process("vjax", "split", root, "--out", out, *words))
    assert not out.exists()


def test_split_overwrites_no_manifest(tmp_path):
    root = write_folder(tmp_path / "videos")
    (tmp_path / "mine.csv").write_text("path,label\n")
    assert "the file exists" in error_line(in_this_process("vjax", "split", root, "--out", tmp_path / "mine.csv"))
    assert (tmp_path / "mine.csv").read_text() == "path,label\n"


def test_evaluate_takes_other_data_and_says_so(trained, tmp_path):
    _, workdir, _ = trained
    other = write_folder(tmp_path / "other", groups=("eve", "flo", "gus"))
    done = in_this_process("vjax", "evaluate", workdir, f"--source.root={other}")
    assert "test split of all videos, of other data than the run's:" in unwrapped(done.stdout)
    assert "6 of 6 videos" in unwrapped(done.stdout)
    write_folder(tmp_path / "third", labels=("fall", "jump"))
    wrong = in_this_process("vjax", "evaluate", workdir, f"--source.root={tmp_path / 'third'}")
    assert "missing ['rise'], new ['jump']" in error_line(wrong)


def test_predict_ranks_classes_as_evaluate_does(trained, tmp_path):
    root, workdir, _ = trained
    command("vjax", "evaluate", workdir, "--json", tmp_path / "e.json")
    row = json.loads((tmp_path / "e.json").read_text())["videos"][0]
    (found,) = json.loads(command("vjax", "predict", workdir, root / row["name"], "--json").stdout)
    assert {entry["class"]: entry["probability"] for entry in found["ranked"]} == row["probs"]
    probabilities = [entry["probability"] for entry in found["ranked"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert len(found["clips"]) == 2


def test_predict_shows_the_good_videos_and_names_the_bad_ones(trained, tmp_path):
    root, workdir, _ = trained
    (tmp_path / "text.mp4").write_text("no video")
    videos = (root / "rise/ann.mp4", tmp_path / "text.mp4", root / "fall/bob.mp4")
    done = command("vjax", "predict", workdir, *videos, check=False)
    line = r"{}  \w+ \d\.\d\d, \w+ \d\.\d\d\n"
    assert re.fullmatch("".join(line.format(root / name) for name in ("rise/ann.mp4", "fall/bob.mp4")), done.stdout)
    *speed, error = done.stderr.splitlines()
    speed = unwrapped("\n".join(speed))
    assert re.fullmatch(
        r"2 videos, 4 clips in .* clips/s; the network took \d+% of the time, reading and writing the rest", speed
    )
    assert error.startswith(f"error: {tmp_path}/text.mp4: no video can be opened")
    assert done.returncode == 2


def test_predict_writes_a_table_of_a_folder_next_to_its_json(trained, tmp_path):
    root, workdir, _ = trained
    table = tmp_path / "new" / "p.csv"
    done = in_this_process("vjax", "predict", workdir, root / "fall", root / "r*/*.mp4", "--json", "--out", table)
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert [entry["name"] for entry in found] == [str(path) for path in sorted(root.rglob("*.mp4"))]
    with table.open(newline="") as stream:
        rows = [(row["video"], row["class"], float(row["probability"])) for row in csv.DictReader(stream)]
    expected = [(entry["name"], e["class"], e["probability"]) for entry in found for e in entry["ranked"]]
    assert rows == [(name, label, pytest.approx(p, abs=1e-6)) for name, label, p in expected]


def test_evaluate_says_what_a_network_loses_on_changed_frames(trained, tmp_path):
    _, workdir, _ = trained
    done = in_this_process("vjax", "evaluate", workdir, "--probes", "--json", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "r.json").read_text())
    assert list(found["motion"]["probes"]) == ["shuffled", "reversed", "frozen", "thinned"]
    for name, probe in found["motion"]["probes"].items():
        assert probe["drop"] == pytest.approx(found["video@1"] - probe["video@1"])
        assert f"| {name:8} |   {probe['video@1']:.3f} |" in done.stdout
    for label in found["class_names"]:
        assert re.search(rf"\| {label} +\| +{found['motion']['classes'][label]['num_videos']} \|", done.stdout)
    assert " ".join(found["motion"]["verdict"]) in unwrapped(done.stdout)
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_features_writes_those_of_the_good_videos_and_names_the_bad_ones(trained, tmp_path):
    root, workdir, _ = trained
    (tmp_path / "text.mp4").write_text("no video")
    out = tmp_path / "new" / "f.npz"
    done = in_this_process("vjax", "features", workdir, root / "fall", tmp_path / "text.mp4", "--out", out)
    assert "text.mp4: no video can be opened" in error_line(done)
    assert done.stdout == f"{out}: 8 features of 4 video(s), each the mean over 2 view(s)\n"
    found = np.load(out)
    assert list(found["names"]) == [str(path) for path in sorted((root / "fall").glob("*.mp4"))]
    assert (found["clips"].shape, found["videos"].shape) == ((4, 2, 1, 8), (4, 8))
    state = vjax.load(workdir).state
    layer = state.variables["params"]["head"]["logits"]
    logits = found["clips"] @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
    probs = np.asarray(jax.nn.softmax(logits)).mean(axis=(1, 2))
    expected = np.stack([one.probs for one in vjax.load(workdir).predict(found["names"])])
    np.testing.assert_allclose(probs, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("out", "message"), [("x.csv", "cannot be written: Is a directory"), ("x.txt", "must be one of .csv, .jsonl")]
)
def test_predict_says_at_once_that_its_file_cannot_be_written(trained, tmp_path, out, message):
    root, workdir, _ = trained
    (tmp_path / "x.csv").mkdir()
    done = in_this_process("vjax", "predict", workdir, root / "rise/ann.mp4", "--out", tmp_path / out)
    assert not done.stdout
    assert message in error_line(done)


@pytest.mark.parametrize(
    ("words", "shape"),
    [
        (["--op", "background", "--out", "x.png"], (1, 24, 32, 3)),
        (["--op", "xt", "--at", "3", "--out", "x.png"], (1, 12, 32, 3)),
        (["--op", "yt", "--out", "x.png"], (1, 24, 12, 3)),
        (["--op", "median", "--window", "3", "--out", "x.gif"], (12, 24, 32, 3)),
        (["--op", "foreground", "--out", "x.mp4"], (12, 24, 32, 3)),
    ],
)
def test_filter_writes_a_picture_or_a_video(trained, tmp_path, words, shape):
    root, _, _ = trained
    words[-1] = str(tmp_path / words[-1])
    run = command if "background" in words else in_this_process
    done = run("vjax", "filter", root / "rise/ann.mp4", *words)
    said = f"{shape[0]} frames of " * (shape[0] > 1) + f"{shape[2]} x {shape[1]} pixels"
    assert done.stdout == f"{words[-1]}: {said}, {os.path.getsize(words[-1]) / 1e3:.1f} kB\n"
    frames = np.asarray(Image.open(words[-1]))[None] if words[-1].endswith(".png") else read_video(words[-1])
    assert frames.shape == shape


def test_filter_says_that_a_background_is_of_some_frames_only(trained, tmp_path):
    root, _, _ = trained
    video, out = root / "rise/ann.mp4", tmp_path / "x.png"
    done = in_this_process("vjax", "filter", video, "--op", "background", "--frames", 4, "--out", out)
    assert done.stdout.startswith("The background is the median of 4 of 12 frames, evenly spaced in time; --frames ")
    expected = median_background(read_video(video)[[0, 4, 7, 11]])
    np.testing.assert_array_equal(np.asarray(Image.open(out)), expected)
    done = in_this_process("vjax", "filter", video, "--op", "background", "--out", out)
    assert done.stdout.startswith(f"{out}: ")
    np.testing.assert_array_equal(np.asarray(Image.open(out)), median_background(read_video(video)))


def test_filter_bounds_the_memory_of_a_background_by_itself(trained, tmp_path, monkeypatch):
    root, _, _ = trained
    monkeypatch.setattr(filter, "_BACKGROUND_BYTES", 5 * 24 * 32 * 3)
    words = ["--op", "foreground", "--out", tmp_path / "x.mp4"]
    assert "the median of 5 of 12 frames" in in_this_process("vjax", "filter", root / "rise/ann.mp4", *words).stdout
    assert len(read_video(tmp_path / "x.mp4")) == 12


MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def peak_memory(*words):
    """Returns the largest resident memory of a command, in bytes.

    A small process starts it: on Linux, the peak of a process begins with that of the process it is forked from.
    """
    start = arguments(*words)
    start["args"] = [sys.executable, "-c", MEASURE, *start["args"]]
    return int(subprocess.run(**start, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.parametrize("words", [["xt", "--out=x.png"], ["foreground", "--frames=9", "--out=x.mp4"]])
def test_the_memory_of_filter_does_not_grow_with_the_length_of_a_video(tmp_path, words):
    out = words[-1].replace("--out=", f"--out={tmp_path}/")
    peaks = []
    for num_frames in (60, 360):
        video = tmp_path / f"{num_frames}.mkv"
        write_video(video, np.zeros((num_frames, 480, 640, 3), np.uint8), codec="mpeg4", pix_fmt="yuv420p")
        peaks.append(peak_memory("vjax", "filter", video, "--op", *words[:-1], out))
    assert peaks[1] - peaks[0] < 300 * 480 * 640 * 3 / 4  # a quarter of the frames that are more


def test_filter_never_overwrites_its_video(trained, tmp_path):
    root, _, _ = trained
    video = shutil.copy(root / "rise/ann.mp4", tmp_path / "x.mp4")
    (tmp_path / "link.mp4").symlink_to(video)
    done = in_this_process("vjax", "filter", video, "--op", "median", "--out", tmp_path / "link.mp4")
    assert "link.mp4 is the video itself; --out must be another file" in error_line(done)
    assert video.read_bytes() == (root / "rise/ann.mp4").read_bytes()


NAMES = [f"blocks.{number}.a_layer_with_a_name_that_is_longer_than_a_terminal.weight" for number in range(40)]


def test_weights_are_listed_in_80_columns_and_written(tmp_path):
    tensors = {name: np.full((2, 3), number, np.float32) for number, name in enumerate(NAMES)}
    tensors |= {"a\x1b[2J": np.float32([1]), "norm.running_mean": np.zeros(5, np.float32), "count": np.array(3)}
    path = save_zip(tmp_path / "x.pth", {"model": tensors, "epoch": 7, "optimizer": {"lr": 0.1}})
    done = in_this_process("vjax", "weights", path, "--out", tmp_path / "x.safetensors")
    assert (done.returncode, done.stderr) == (0, "")
    assert "43 tensors with 242 parameters and 5 numbers of batch norm statistics" in unwrapped(done.stdout)
    assert "zip form; the tensors are those of its entry model" in unwrapped(done.stdout)
    assert "not used: epoch (7); optimizer (a dict of 1)" in unwrapped(done.stdout)
    assert "published as: not known, so no preprocessing comes with them" in unwrapped(done.stdout)
    assert "fits: no network or backbone of vjax by its names and shapes" in unwrapped(done.stdout)
    lines = done.stdout.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert re.fullmatch(r"\| blocks\.0\.a_layer_.*\.\.\. +\| +2 x 3 \| float32 \|", lines[2])
    assert [line for line in lines if line.startswith("| ... 23 more ")]
    assert r"| a\x1b[2J " in done.stdout
    assert re.fullmatch(r".*x\.safetensors: [\d.]+ kB", lines[-1])
    written = read_tensors(tmp_path / "x.safetensors")
    assert written.keys() == tensors.keys()
    np.testing.assert_array_equal(written[NAMES[7]], tensors[NAMES[7]])


def test_weights_never_write_over_the_file_that_they_read(tmp_path):
    path = save_zip(tmp_path / "x.npz", {"a": np.ones(3, np.float32)})
    before = path.read_bytes()
    assert "--out must be another file" in error_line(in_this_process("vjax", "weights", path, "--out", path))
    assert path.read_bytes() == before


def bad_commands(root, workdir, tmp_path):
    """Every way to go wrong, with what the one line must say."""
    train = ["train.py", "--workdir", tmp_path / "new", "--config"]
    typo = tmp_path / "typo.py"
    typo.write_text(CONFIG.read_text().replace("        label_smoothing=0.1", "        label_smothing=0.1"))
    broken = tmp_path / "broken.py"
    broken.write_text(CONFIG.read_text() + "\n\nget_config = get_confg\n")
    empty, folder = tmp_path / "empty", tmp_path / "f.npz"
    (empty / "a").mkdir(parents=True)
    folder.mkdir()
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,label,split\na.mp4,walk,train\nb.mp4,wlak,test\n")
    return {
        "missing config": ([*train, "nowhere.py"], "there is no file 'nowhere.py'"),
        "missing folder": ([*train, CONFIG, "--config.source.root=/nowhere"], "'/nowhere' does not exist"),
        "empty class": ([*train, CONFIG, f"--config.source.root={empty}"], "the class folder is empty"),
        "unknown label": (
            [*train, CONFIG, f"--config.source.root={manifest}"],
            "label 'wlak' occurs only in the test split",
        ),
        "typo in a flag": (
            [*train, CONFIG, "--config.lenght=3"],
            "config does not know 'lenght'; did you mean 'length'",
        ),
        "wrong type": (
            [*train, CONFIG, "--config.length=many"],
            "config.length is a number of steps, or a text such as '900 steps', '30 epochs'",
        ),
        "typo in get_config": (
            [*train, typo, f"--config.source.root={root}"],
            "does not know 'label_smothing'; did you mean",
        ),
        "broken config": ([*train, broken], "NameError: name 'get_confg' is not defined"),
        "unknown version": ([*train, f"{CONFIG}:tinny"], "does not know 'tinny'; did you mean 'tiny'"),
        "another config": (
            ["train.py", "--workdir", workdir, "--config", CONFIG, f"--config.source.root={root}"],
            "holds a run of another config",
        ),
        "no run": (["vjax", "evaluate", tmp_path], "holds no run"),
        "no video": (["vjax", "filter", CONFIG, "--op", "xt", "--out", tmp_path / "x.png"], "folder.py: "),
        "missing video": (["vjax", "predict", workdir, "/nowhere.mp4"], "/nowhere.mp4: no such file"),
        "unknown ending": (
            ["vjax", "filter", root / "rise/ann.mp4", "--op", "xt", "--out", tmp_path / "x.jpg"],
            "must be one of .png, .gif, .mp4",
        ),
        "row outside": (
            ["vjax", "filter", root / "rise/ann.mp4", "--op", "xt", "--at", "99", "--out", tmp_path / "x.png"],
            "row 99 lies outside the frame; it has rows 0 to 23",
        ),
        "no output folder": (
            ["vjax", "filter", root / "rise/ann.mp4", "--op", "median", "--out", tmp_path / "none/x.mp4"],
            "x.mp4 cannot be written: there is no folder",
        ),
        "no weights": (["vjax", "weights", CONFIG], "folder.py: is no file of weights"),
        "unknown weights": (["vjax", "weights", "torchvision:s4d=x"], "weights does not know 'torchvision:s4d'"),
        "other ending of weights": (
            ["vjax", "weights", CONFIG, "--out", tmp_path / "x.pth"],
            "x.pth: the ending of a file of weights to write must be one of .safetensors, .npz",
        ),
        "other ending of features": (
            ["vjax", "features", workdir, root, "--out", tmp_path / "x.csv"],
            "--out must be a .npz file, got",
        ),
        "folder for features": (
            ["vjax", "features", workdir, root, "--out", folder],
            "f.npz cannot be written: Is a directory",
        ),
        "no frames": (
            ["vjax", "filter", root / "rise/ann.mp4", "--op=background", "--frames=0", "--out", tmp_path / "x.png"],
            "--frames must be 1 or more, got 0",
        ),
    }


@pytest.mark.parametrize(
    "case",
    [
        "missing config", "missing folder", "empty class", "unknown label", "typo in a flag", "wrong type",
        "typo in get_config", "broken config", "unknown version", "another config", "no run", "no video",
        "missing video", "unknown ending", "row outside", "no output folder", "no weights", "unknown weights",
        "other ending of weights", "other ending of features", "folder for features", "no frames",
    ],
)  # fmt: skip
def test_bad_input_gives_one_line_and_an_exit_code(trained, tmp_path, case):
    root, workdir, _ = trained
    words, message = bad_commands(root, workdir, tmp_path)[case]
    assert message in error_line(in_this_process(*words))


def test_describe_needs_neither_data_nor_devices():
    done = command("vjax", "describe", "--config", f"{CONFIG}:tiny", "--classes", 3, "--devices", 4)
    assert re.search(r"^SlowFusion on a clip of 8x16x16x3 \(frames x height x width x channels\)", done.stdout)
    assert re.search(r"\| backbone/Conv_0 +\| 8x16x16x4 \| +3x3x3 \|", done.stdout)
    assert re.search(r"\| head/logits +\| +1x3 \| +\S+ \| +27 \| +24 \|", done.stdout)
    said = unwrapped(done.stdout)
    assert re.search(r" 2,[0-9]{3} parameters \([0-9,]+ without the classifier\), [0-9,]+ multiply-adds per clip", said)
    assert "1.7 GB at 640 x 480, 11.2 GB at 1920 x 1080" in said
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "A clip of 8x16x16x3: 6 KB (6 KiB)" in done.stdout
    assert "memory of each of 4 device(s)" in done.stdout
    assert re.search(r"\| total +\| +\d+\.\d{3} \|", done.stdout)


def test_describe_takes_any_name_of_vjax_models_and_prints_no_step():
    said = in_this_process("vjax", "describe", "resnet18", "--classes", 7).stdout
    assert said.startswith("SingleFrame on a clip of 1x112x112x3")
    assert "backbone/BasicBlock_7/Conv_1" in said
    assert re.search(r"\| head/logits +\| +1x7 \| +1x112x112 \|", said)
    assert "of a step" not in said


def test_describe_compiles_the_step_if_it_is_asked_to():
    said = in_this_process("vjax", "describe", "--config", f"{CONFIG}:tiny", "--compile").stdout
    assert re.search(r"\| state and one batch +\| +(\S+) \| +\1 \|", said)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "takes a name from vjax models or --config FILE; give one of the two"),
        (["c3d", "--config", CONFIG], "takes a name from vjax models or --config FILE; give one of the two"),
        (["c4d"], "network or backbone does not know 'c4d'; did you mean 'c3d'?"),
        (["c3d", "--classes", 0], "a network needs 1 class or more, got 0"),
        (["c3d", "--compile"], "--config.KEY, --devices and --compile need --config FILE"),
        (["c3d", "--config.batch_size=3"], "--config.KEY, --devices and --compile need --config FILE"),
        (["--config", f"{CONFIG}:tiny", "--classes", 0], "a network needs 1 class or more, got 0"),
        (["--config", f"{CONFIG}:tiny", "--devices", 3], "config.batch_size must be a multiple of the 3 device(s)"),
        (["--config", f"{CONFIG}:tiny", "--devices", 0], "a batch needs 1 device or more, got 0"),
        (
            ["--config", f"{CONFIG}:tiny", "--devices", 8, "--config.accumulate=2"],
            "config.accumulate must divide the 1 row(s) of a batch on each device; got 2",
        ),
        (["--config", f"{CONFIG}:tiny", "--devices", 2, "--compile"], "--compile is for the 8 device(s) of this"),
    ],
)
def test_what_describe_cannot_describe_is_explained(words, message):
    assert message in error_line(in_this_process("vjax", "describe", *words))


def test_a_command_s_help_starts_no_device():
    code = "import jax, sys, vjax.cli.main as m\ntry: m.main(['prepare', '--help'])\nexcept SystemExit: pass\n"
    code += "from jax._src import xla_bridge\nsys.exit(xla_bridge.backends_are_initialized())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def options_of_commands():
    """Every argument of every command, with the parser that has it."""
    parsers = {"train.py": train.make_parser()}
    (choices,) = [action.choices for action in commands.make_parser()._actions if action.choices]
    for name, parser in {**parsers, **choices}.items():
        for action in parser._actions:
            yield name, action


@pytest.mark.parametrize(("name", "action"), [pytest.param(*pair, id=f"{pair[0]} {pair[1].dest}") for pair in
                                              options_of_commands()])  # fmt: skip
def test_every_argument_is_described_by_more_than_a_fragment(name, action):
    words = (action.help or "").split()
    assert len(words) >= 3, f"{name} {action.dest}: {action.help!r}"
    assert words[0] not in ("of", "that", "for", "in"), f"{name} {action.dest}: {action.help!r}"
