"""Prepared stores: the same videos and splits as the files, never half a store that looks whole."""

import csv
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from made_videos import numbered_frames, write_video
from processes import arguments, command
from video_files import LABELS, write_folder

from vjax.data import prepare
from vjax.data.decode import VideoError
from vjax.data.frame_table import FrameReader
from vjax.data.records import RecordReader
from vjax.data.sources import LISTINGS, open_source
from vjax.errors import InputError
from vjax.spec import Choice
from vjax.typed import conform_choice


def options_of(root, **kwargs):
    return conform_choice(Choice("videos", root=str(root), **kwargs), LISTINGS, what="source")


def write_store(root, out, options=None, run=prepare.run_here, **kwargs):
    heard = []
    source = options_of(root, **kwargs)
    done = prepare.prepare(
        LISTINGS.create(source),
        source,
        out,
        options or prepare.Options(),
        run=run,
        advance=lambda *at: heard.append(at),
    )
    assert [at[0] for at in heard] == sorted(at[0] for at in heard)
    assert heard[-1][0] == heard[-1][1]
    return done


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos") / "videos"
    # The name of a film that no shell and no CSV file likes.
    return write_folder(root, pattern='(Rad)"Schlag, die"_Bänk!_{group}.mp4', groups=[f"g{i}" for i in range(10)])


@pytest.fixture(scope="module")
def store(videos, tmp_path_factory):
    out = tmp_path_factory.mktemp("store") / "store"
    assert write_store(videos, out).num_videos == 20
    return out


def test_training_from_a_store_sees_the_videos_and_splits_of_the_files(videos, store):
    for seed in (0, 1):
        from_files, from_store = (open_source(options_of(place), seed=seed, val_share=0.1) for place in (videos, store))
        assert from_store.class_names == from_files.class_names
        assert from_store.split.startswith(f"{from_files.split}; frames prepared with a short side of 128, JPEG")
        for split, number in (("train", 14), ("val", 2), ("test", 4)):
            ours, theirs = getattr(from_store, split), getattr(from_files, split)
            assert len(ours) == number
            assert [(v.name, v.label, v.num_frames, v.fps) for v in ours] == [
                (v.name, v.label, v.num_frames, v.fps) for v in theirs
            ]
            for stored, filed in zip(ours, theirs, strict=True):
                indices = np.array([3, 0, 11, 3])
                assert np.abs(stored.read(indices).astype(int) - filed.read(indices)).mean() < 3


def test_a_store_without_frame_tables_gives_the_same_clips_out_of_whole_records(store, tmp_path):
    shutil.copytree(store, tmp_path / "old")
    for table in (tmp_path / "old").glob("*.frames"):
        table.unlink()
    new, old = (open_source(options_of(root), seed=0) for root in (store, tmp_path / "old"))
    assert len(new.train) == 16
    for ours, theirs in zip([*new.train, *new.test], [*old.train, *old.test], strict=True):
        assert isinstance(ours.read, FrameReader)
        assert isinstance(theirs.read, RecordReader)
        indices = np.array([ours.num_frames - 1, 0, 5])
        np.testing.assert_array_equal(ours.read(indices), theirs.read(indices))


def test_a_store_is_a_tfds_data_set(store):
    builder = tfds.builder_from_directory(store)
    assert builder.info.features["label"].names == list(LABELS)
    assert {name: info.num_examples for name, info in builder.info.splits.items()} == {"train": 16, "test": 4}
    example = builder.as_data_source("test")[0]
    assert np.shape(example["frames"]) == (12, 24, 32, 3)
    assert (example["num_frames"], example["fps"], example["label"]) == (12, 10.0, 0)
    assert example["name"].decode().startswith('fall/(Rad)"Schlag, die"_Bänk!_g')
    assert example["path"].decode().endswith(example["name"].decode())


def test_a_store_is_found_by_name_where_tfds_looks_for_data_sets(videos, tmp_path):
    write_store(videos, tmp_path / "videos" / "1.0.0")
    assert len(tfds.data_source("videos", split="train", data_dir=tmp_path)) == 16


def test_groups_can_be_held_out_of_a_store_without_preparing_it_again(videos, store):
    source = open_source(options_of(store, group=r"_(g\d)\."), seed=0, held_out="g3,g7")
    assert {video.name[-5:-4] for video in source.test} == {"3", "7"}
    assert len(source.test) == 4
    assert not {v.name for v in source.test} & {v.name for v in source.train}


def test_frames_are_shrunk_and_thinned_out_as_asked(tmp_path):
    write_video(_folder(tmp_path / "v" / "a") / "x.mp4", numbered_frames(25, height=64, width=128), fps=25)
    write_video(tmp_path / "v" / "a" / "y.mp4", numbered_frames(9, height=64, width=32), fps=5)
    write_store(tmp_path / "v", tmp_path / "store", prepare.Options(short_side=16, fps=10))
    source = open_source(options_of(tmp_path / "store"), seed=0)
    by_name = {video.name: video for video in [*source.train, *source.test]}
    x, y = by_name["a/x.mp4"], by_name["a/y.mp4"]
    assert (x.num_frames, x.fps) == (10, 10.0)
    assert (y.num_frames, y.fps) == (9, 5.0)  # it has no more than that
    shown = x.read(np.arange(10))
    assert shown.shape == (10, 16, 32, 3)
    assert y.read(np.array([0])).shape == (1, 32, 16, 3)
    levels = np.median(shown, axis=(1, 2, 3)) / 8  # frames 0, 2.5, 5 ...: the next one after each
    assert np.abs(levels - [0, 3, 5, 8, 10, 13, 15, 18, 20, 23]).max() < 0.5


def test_videos_that_cannot_be_read_are_left_out_and_listed(tmp_path):
    root = write_folder(tmp_path / "v", groups=[f"g{i}" for i in range(9)])
    (root / LABELS[0] / "bad.mp4").write_bytes(b"no video")
    done = write_store(root, tmp_path / "store")
    assert (done.num_videos, done.num_bad) == (18, 1)
    source = open_source(options_of(tmp_path / "store"), seed=0)
    (bad,) = source.bad_videos
    assert bad.name == "fall/bad.mp4"
    assert "no video can be opened" in bad.reason
    assert all(video.read(np.array([0])).shape == (1, 24, 32, 3) for video in [*source.train, *source.test])


def test_a_manifest_may_name_a_video_twice(tmp_path):
    root = write_folder(tmp_path / "v", groups=["a", "b"])
    lines = ["fall/a.mp4,down,train", "rise/b.mp4,up,train", "fall/a.mp4,down,test", "rise/a.mp4,up,train"]
    lines += ["rise/b.mp4,up,test", "fall/a.mp4,down,train", "fall/b.mp4,down,val"]
    (root / "m.csv").write_text("\n".join(["path,label,split", *lines]) + "\n")
    write_store(root / "m.csv", tmp_path / "store")
    from_files, from_store = (open_source(options_of(place), seed=0) for place in (root / "m.csv", tmp_path / "store"))
    for split in ("train", "val", "test"):
        ours, theirs = getattr(from_store, split), getattr(from_files, split)
        assert len(ours) > 0
        assert [(v.name, v.label) for v in ours] == [(v.name, v.label) for v in theirs]
        for stored, filed in zip(ours, theirs, strict=True):
            assert np.abs(stored.read(np.arange(12)).astype(int) - filed.read(np.arange(12))).mean() < 3


def test_a_store_with_too_many_bad_videos_or_nothing_to_test_on_is_refused_as_its_files_would_be(tmp_path):
    root = write_folder(tmp_path / "v", groups=["a", "b"])
    (root / "bad.mp4").write_bytes(b"no video")
    lines = [f"{label}/{name}.mp4,{label},train" for label in LABELS for name in "ab"]
    (root / "m.csv").write_text("\n".join(["path,label,split", *lines, "bad.mp4,fall,test"]) + "\n")
    write_store(root / "m.csv", tmp_path / "store")
    for place in (root / "m.csv", tmp_path / "store"):
        with pytest.raises(InputError, match=r"1 of 5 videos cannot be read, more than max_bad_share=0.1; the first"):
            open_source(options_of(place), seed=0)
        with pytest.raises(InputError, match="no readable video is left to test on"):
            open_source(options_of(place), seed=0, max_bad_share=0.5)


def test_a_store_of_nothing_but_bad_videos_is_refused(tmp_path):
    for name in ("x", "y"):
        (_folder(tmp_path / "v" / "a") / f"{name}.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"not one of 2 videos could be read; the first: .*no video can be opened"):
        write_store(tmp_path / "v", tmp_path / "store")


def test_a_cut_off_store_does_not_look_whole_and_goes_on_where_it_was(videos, store, tmp_path):
    out = tmp_path / "store"

    def run_one(shards):
        yield prepare.write_shard(shards[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_store(videos, out, run=run_one)
    with pytest.raises(InputError, match="store: its preparation was interrupted; run the same `vjax prepare` again"):
        open_source(options_of(out), seed=0)
    with pytest.raises(InputError, match="unfinished store of other videos or options"):
        write_store(videos, out, prepare.Options(quality=50))

    def run_rest(shards):
        assert [shard.part.name for shard in shards] == ["train-00001", "test-00000"]
        return prepare.run_here(shards)

    write_store(videos, out, run=run_rest)
    assert contents(out) == contents(store)
    with pytest.raises(InputError, match="store: holds a complete store; remove it, or give another --out"):
        write_store(videos, out)


def test_a_prepare_that_is_killed_goes_on(videos, store, tmp_path):
    out = tmp_path / "store"
    words = ("vjax", "prepare", videos, "--out", out, "--workers", 0)
    process = subprocess.Popen(**arguments(*words), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not list(out.glob("parts/train-00000.json")):
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = command(*words)
    assert done.stdout.startswith("20 videos, 0 MB, in ")
    assert contents(out) == contents(store)


def test_several_processes_write_what_one_writes(videos, store, tmp_path):
    done = command("vjax", "prepare", videos, "--out", tmp_path / "store", "--workers", 2)
    assert "--config.source.root=" in done.stdout
    assert contents(tmp_path / "store") == contents(store)


def test_a_beam_runner_writes_what_one_process_writes(videos, store, tmp_path):
    pytest.importorskip("apache_beam", reason="the extra 'beam' is not installed")
    command("vjax", "prepare", videos, "--out", tmp_path / "store", "--runner", "DirectRunner")
    assert contents(tmp_path / "store") == contents(store)


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is not None, reason="the extra 'beam' is installed")
def test_without_beam_a_runner_is_refused_with_the_extra_that_has_it(videos, tmp_path):
    done = command("vjax", "prepare", videos, "--out", tmp_path / "s", "--runner", "DirectRunner", check=False)
    assert done.returncode == 2
    assert done.stderr.endswith("\nerror: --runner needs Apache Beam: pip install 'vjax[beam]'\n")


def test_a_damaged_record_is_named(videos, tmp_path):
    write_store(videos, tmp_path / "store")
    source = open_source(options_of(tmp_path / "store"), seed=0)
    for path in tmp_path.glob("store/*.array_record-*"):
        content = path.read_bytes()
        path.write_bytes(content.replace(b"\xff\xd8\xff", b"\xff\xd8\x00"))
    with pytest.raises(VideoError, match=r"_g\d.mp4: its record is damaged \(.*\); prepare the dataset again"):
        source.train[0].read(np.array([0]))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"short_side": 4}, "--short-side must be 8 pixels or more, got 4"),
        ({"fps": 0.0}, "--fps must be above 0, got 0.0"),
        ({"quality": 0}, "--quality must be from 1 to 100, got 0"),
    ],
)
def test_options_that_do_not_work_are_refused(kwargs, message):
    with pytest.raises(InputError, match=message):
        prepare.Options(**kwargs)


def test_a_folder_that_holds_something_else_is_not_written_to(videos, tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(InputError, match="is not empty; give a new folder with --out"):
        write_store(videos, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_store_of_another_data_set_is_refused(store):
    with pytest.raises(InputError, match=r"with name='videos', and the config asks for name='ucf101'"):
        open_source({"name": "ucf101", "root": str(store)}, seed=0)


def contents(store):
    """What is in a store, but for the paths of the originals."""
    about = json.loads((store / "store.json").read_text())
    about.pop("source")
    with (store / "index.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    records = {path.name: path.read_bytes() for path in sorted(store.glob("*.array_record-*"))}
    return about, rows, records, (store / "features.json").read_text(), (store / "parts").exists()


def _folder(path):
    path.mkdir(parents=True, exist_ok=True)
    return path
