"""Data sets by name, in tiny copies of their official layouts."""

import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from official_layouts import AWKWARD, LAYOUTS
from processes import in_this_process
from video_files import GROUPS, LABELS

from vjax.data.sources import LISTINGS, open_source
from vjax.errors import InputError
from vjax.spec import Choice


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in LAYOUTS.items()}


def opened(layouts, name, **kwargs):
    return open_source({"name": name, "root": str(layouts[name]), **kwargs}, seed=0)


def names(videos):
    return {video.name for video in videos}


@pytest.mark.parametrize("split", [1, 2, 3])
def test_ucf101_splits_as_its_lists_say_and_keeps_groups_together(layouts, split):
    source = opened(layouts, "ucf101", split=split)
    assert names(source.test) == {f"{label}/v_{label}_g0{split}_c01.avi" for label in LABELS}
    assert len(source.train) == 4
    assert not source.bad_videos
    groups = {file.name: file.group for file in LISTINGS.create(Choice("ucf101", root=str(layouts["ucf101"]))).files}
    assert {groups[name] for name in names(source.test)} == {f"g0{split}"}


def test_hmdb51_splits_as_its_lists_say_and_leaves_out_what_they_leave_out(layouts):
    source = opened(layouts, "hmdb51")
    assert source.class_names == ("run", "shoot_bow")
    assert f"run/{AWKWARD}" in names(source.train)
    assert names(source.test) == {f"{label}/Film_{label}_u_nm_np1_ri_goo_0.avi" for label in source.class_names}
    assert len(source.train) == 4
    files = LISTINGS.create(Choice("hmdb51", root=str(layouts["hmdb51"]))).files
    assert {file.group for file in files} == {"(Rad)Schlag_die_Bank!", "Film", "Other Film's"}


def test_kinetics_counts_the_videos_that_have_vanished(layouts):
    source = opened(layouts, "kinetics")
    assert source.class_names == ("falling things", "riseing things")
    assert (len(source.train), len(source.test)) == (4, 2)
    assert [bad.split for bad in source.bad_videos] == ["train", "test"]
    assert source.bad_videos[0].reason.startswith(
        "falling things/gone_456789_000001_000011: missing, no file gone_456789_000001_000011.mp4 under "
    )
    assert "falling things/-a_3456789A_000000_000010" in names(source.train)


def test_something_something_takes_its_classes_from_the_templates(layouts):
    source = opened(layouts, "something_something")
    assert source.class_names == ("Pushing something from left to right", "Pushing something from right to left")
    assert {v.name: v.label for v in source.train} == {"11.webm": 1, "12.webm": 0, "13.webm": 1, "14.webm": 0}
    assert names(source.test) == {"21.webm", "22.webm"}
    assert [bad.name for bad in source.bad_videos] == ["15.webm", "23.webm"]


def test_weizmann_holds_out_subjects_of_its_archives(layouts):
    source = open_source({"name": "weizmann", "root": str(layouts["weizmann"])}, seed=0, held_out="bob")
    assert names(source.test) == {f"{label}/bob_{label}.avi" for label in LABELS}
    assert len(source.train) == 2 * (len(GROUPS) - 1)


SPLITS = {
    "hmdb51": "given by official split 1 of HMDB51",
    "kinetics": "given by Kinetics' train and validation lists",
    "something_something": "given by Something-Something's train and validation lists",
    "ucf101": "given by official split 1 of UCF101",
    "weizmann": "random, 20% of each class; groups kept together, seed 0",
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_split_is_described_by_who_gives_it_and_a_store_keeps_the_words(layouts, name, tmp_path):
    assert opened(layouts, name).split == SPLITS[name]
    command = ("vjax", "prepare", name, f"--source.root={layouts[name]}")
    in_this_process(*command, "--out", tmp_path / "store", "--workers", 0)
    stored = open_source({"name": name, "root": str(tmp_path / "store")}, seed=0)
    assert stored.split.startswith(f"{SPLITS[name]}; frames prepared")


@pytest.mark.parametrize("name", ["kinetics", "something_something"])
@pytest.mark.parametrize("kind", ["nothing", "file"])
def test_annotations_that_are_no_folder_are_named_by_their_option(layouts, tmp_path, name, kind):
    annotations = tmp_path / "lists"
    if kind == "file":
        annotations.touch()
    with pytest.raises(InputError, match=r"\Aconfig.source.annotations: '.*/lists' is not a folder; give the folder"):
        opened(layouts, name, annotations=str(annotations))


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_data_set_by_name_is_prepared_and_examined(layouts, name, tmp_path):
    words = (name, f"--source.root={layouts[name]}")
    assert "videos" in in_this_process("vjax", "prepare", *words, "--out", tmp_path / "store", "--workers", 0).stdout
    page = in_this_process("vjax", "doctor", *words).stdout
    assert page.startswith("videos  ")
    files, store = (
        open_source({"name": name, "root": str(root)}, seed=0) for root in (layouts[name], tmp_path / "store")
    )
    for ours, theirs in ((store.train, files.train), (store.test, files.test)):
        assert [(v.name, v.label) for v in ours] == [(v.name, v.label) for v in theirs]
    assert [(bad.name, bad.split) for bad in store.bad_videos] == [(bad.name, bad.split) for bad in files.bad_videos]


@pytest.mark.parametrize("pack", ["zip", "tar.gz"])
def test_an_archive_is_unpacked_once(layouts, tmp_path, pack):
    kind = {"zip": "zip", "tar.gz": "gztar"}[pack]
    shutil.make_archive(str(tmp_path / "ucf"), kind, layouts["ucf101"])
    choice = Choice("ucf101", root=str(tmp_path / f"ucf.{pack}"))
    first = LISTINGS.create(choice)
    assert len(first.files) == 6
    assert all(file.path.is_file() for file in first.files)
    before = (tmp_path / "ucf").stat().st_mtime_ns
    assert LISTINGS.create(choice) == first
    assert (tmp_path / "ucf").stat().st_mtime_ns == before
    # The same archive inside the folder that is named.
    assert len(LISTINGS.create(Choice("ucf101", root=str(tmp_path))).files) == 6


def test_an_archive_cannot_write_outside_its_folder(tmp_path):
    (tmp_path / "x.txt").write_text("mine")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../x.txt", "theirs")
        archive.writestr("run/ann_run.avi", "")
    LISTINGS.create(Choice("weizmann", root=str(tmp_path / "a.zip")))
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        archive.add(tmp_path / "x.txt", arcname="../y.txt")
    with pytest.raises(InputError, match=r"b.tar: cannot be unpacked \(OutsideDestinationError"):
        LISTINGS.create(Choice("weizmann", root=str(tmp_path / "b.tar")))
    assert (tmp_path / "x.txt").read_text() == "mine"
    assert not (tmp_path.parent / "y.txt").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "ucf101", "split": 4}, "config.source.split of ucf101 must be 1, 2 or 3, got 4"),
        ({"name": "hmdb51", "split": 0}, "config.source.split of hmdb51 must be 1, 2 or 3, got 0"),
        ({"name": "ucf101"}, "trainlist01.txt is missing; put the dataset's official lists there"),
        ({"name": "hmdb51"}, r"the lists CLASS_test_split1.txt are missing; unpack the official splits there"),
        ({"name": "kinetics"}, "train.csv is missing"),
        ({"name": "something_something"}, "train.json or something-something-v2-train.json is missing"),
        ({"name": "weizmann"}, "holds no class folders"),
        ({"name": "ucf101", "spilt": 1}, "config.source 'ucf101' does not know 'spilt'; did you mean 'split'"),
    ],
)
def test_what_is_missing_is_named(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        open_source({"root": str(tmp_path), **options}, seed=0)


def test_a_rar_is_explained(tmp_path):
    (tmp_path / "UCF101.rar").write_bytes(b"Rar!")
    with pytest.raises(InputError, match=r"UCF101.rar: unpack it first, with `unar -o .*` or `bsdtar -xf "):
        open_source({"name": "ucf101", "root": str(tmp_path)}, seed=0)


def test_lists_without_videos_and_damaged_annotations_are_named(layouts, tmp_path):
    shutil.copytree(layouts["ucf101"] / "ucfTrainTestlist", tmp_path / "u" / "lists")
    with pytest.raises(InputError, match=r"holds none of the videos that its lists name, such as fall/v_fall_g02"):
        LISTINGS.create(Choice("ucf101", root=str(tmp_path / "u")))
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "train.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"train.csv: Kinetics' annotations must have the columns label,youtube_id"):
        LISTINGS.create(Choice("kinetics", root=str(tmp_path / "k")))
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "train.json").write_text("{")
    with pytest.raises(InputError, match=r"train.json: is not JSON: "):
        LISTINGS.create(Choice("something_something", root=str(tmp_path / "s")))


def test_videos_of_the_lists_that_are_not_there_are_bad_videos(layouts, tmp_path):
    root = shutil.copytree(layouts["ucf101"], tmp_path / "ucf")
    next(root.rglob("v_fall_g02_c01.avi")).unlink()
    source = open_source(Choice("ucf101", root=str(root)), seed=0, max_bad_share=0.5)
    (bad,) = source.bad_videos
    assert (bad.name, bad.split) == ("fall/v_fall_g02_c01.avi", "train")
    assert bad.reason.endswith("no such file")
    assert source.train[0].read(np.array([0])).shape == (1, 24, 32, 3)
