import collections
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from video_files import GROUPS, LABELS, write_folder

from vjax.data.listing import VideoFile
from vjax.data.sources import open_source
from vjax.data.splits import SplitRule, split_files
from vjax.data.video import open_video
from vjax.errors import InputError
from vjax.spec import Choice


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`fall/ann.mp4` to `rise/dan.mp4`."""
    return write_folder(tmp_path_factory.mktemp("source") / "videos")


def open_videos(root, *, seed=0, group="", **kwargs):
    return open_source(Choice("videos", root=str(root), group=group), seed=seed, **kwargs)


def names(videos):
    return [video.name for video in videos]


def write_manifest(root, text):
    path = root / "manifest.csv"
    path.write_text(text)
    return path


def made_files(groups_of_class):
    """Files from a mapping of class to the groups of its videos."""
    return [
        VideoFile(pathlib.Path(), f"{label}/{number}", label, "", group)
        for label, groups in groups_of_class.items()
        for number, group in enumerate(groups)
    ]


def test_a_folder_becomes_two_splits_with_sorted_class_names(folder):
    source = open_videos(folder)
    assert source.class_names == LABELS
    assert sorted(names(source.train) + names(source.test)) == sorted(f"{la}/{g}.mp4" for la in LABELS for g in GROUPS)
    assert all(source.class_names[v.label] == v.name.split("/")[0] for v in [*source.train, *source.test])
    assert source.bad_videos == ()


def test_opening_files_reports_the_videos_one_by_one(folder):
    reported = []
    open_videos(folder, advance=lambda done, total: reported.append((done, total)))
    assert reported == [(done, 8) for done in range(9)]


def test_a_video_of_a_source_reads_its_frames(folder):
    video = open_videos(folder).train[0]
    assert (video.num_frames, video.fps) == (12, 10.0)
    assert video.read(np.array([11, 0, 11])).shape == (3, 24, 32, 3)


def test_a_made_split_is_the_same_for_the_same_seed_only(folder):
    splits = {seed: names(open_videos(folder, seed=seed).test) for seed in (0, 0, 1, 2, 3)}
    assert names(open_videos(folder, seed=0).test) == splits[0]
    assert len({tuple(split) for split in splits.values()}) > 1


def test_hidden_files_are_not_looked_at(tmp_path, folder):
    root = write_folder(tmp_path / "videos", groups=GROUPS[:2])
    (root / "fall" / ".DS_Store").write_bytes(b"x")
    (root / ".cache").mkdir()
    source = open_videos(root, test_share=0.5)
    assert len(source.train) + len(source.test) == 4
    assert source.bad_videos == ()


def test_held_out_groups_are_the_test_split(folder):
    source = open_videos(folder, group=r"/(\w+)\.", held_out="ann, cem")
    assert names(source.test) == ["fall/ann.mp4", "fall/cem.mp4", "rise/ann.mp4", "rise/cem.mp4"]
    assert source.split == "held out: ann, cem"


def test_an_unknown_group_is_answered_with_the_groups_there_are(folder):
    with pytest.raises(InputError, match=r"does not know 'anne'; did you mean 'ann'.* ann, bob, cem, dan"):
        open_videos(folder, group=r"/(\w+)\.", held_out="anne")


@settings(deadline=None, max_examples=60)
@given(
    data=st.dictionaries(
        st.sampled_from("abc"), st.lists(st.sampled_from("123456"), min_size=1, max_size=12), min_size=1
    ),
    share=st.floats(0.05, 0.6),
    seed=st.integers(0, 9),
)
def test_a_group_is_never_on_both_sides_of_a_made_split(data, share, seed):
    files = made_files(data)
    if len({file.group for file in files}) == 1:
        with pytest.raises(InputError, match=r"no split can be made: all \d+ videos are of one group"):
            split_files(files, given="", rule=SplitRule(seed, "", share))
        return
    found, _ = split_files(files, given="", rule=SplitRule(seed, "", share))
    sides = collections.defaultdict(set)
    for file in found:
        sides[file.group].add(file.split)
    assert all(len(side) == 1 for side in sides.values())
    assert {file.split for file in found} == {"train", "test"}


@settings(deadline=None, max_examples=30)
@given(counts=st.lists(st.integers(2, 30), min_size=1, max_size=5), share=st.floats(0.1, 0.5), seed=st.integers(0, 9))
def test_without_groups_every_class_gives_its_share(counts, share, seed):
    files = made_files({str(label): [""] * count for label, count in enumerate(counts)})
    found, _ = split_files(files, given="", rule=SplitRule(seed, "", share))
    in_test = collections.Counter(file.label for file in found if file.split == "test")
    assert in_test == {str(label): max(1, round(share * count)) for label, count in enumerate(counts)}


def test_subjects_that_act_every_class_are_split_as_whole_subjects():
    files = made_files({str(label): list("abcdefghi") for label in range(10)})
    found, _ = split_files(files, given="", rule=SplitRule())
    assert len({file.group for file in found if file.split == "test"}) == 2


@pytest.mark.parametrize("names", [("train", "test"), ("train", "val"), ("Training", "Validation")])
def test_folders_of_splits_are_the_given_split_and_never_classes(tmp_path, names):
    for name, groups in zip(names, (("ann", "bob"), ("cem",)), strict=True):
        write_folder(tmp_path / name, groups=groups)
    source = open_videos(tmp_path)
    assert source.class_names == ("fall", "rise")
    assert sorted(video.name for video in source.test) == [f"{names[1]}/fall/cem.mp4", f"{names[1]}/rise/cem.mp4"]
    assert len(source.train) == 4
    lone_val = "" if "test" in names else " (val is used as the test split)"
    assert source.split == f"given by the folders {' and '.join(sorted(names))}{lone_val}"
    assert len(source.val) == 0


def test_folders_of_three_splits_give_all_three(tmp_path):
    for name, group in (("train", "ann"), ("validation", "bob"), ("test", "cem")):
        write_folder(tmp_path / name, groups=(group,))
    source = open_videos(tmp_path)
    found = [[video.name.partition("/")[0] for video in videos] for videos in (source.train, source.val, source.test)]
    assert found == [["train"] * 2, ["validation"] * 2, ["test"] * 2]
    assert source.split == "given by the folders test and train and validation"


@pytest.mark.parametrize("more", ["training", "cars"])
def test_a_folder_next_to_those_of_splits_is_asked_about(tmp_path, more):
    for name in ("train", "test", more):
        write_folder(tmp_path / name)
    with pytest.raises(InputError, match=f"holds the folders .*{more}.* Two of such names are splits"):
        open_videos(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
    write_folder(tmp_path, labels=("car", "train"))
    assert open_videos(tmp_path).class_names == ("car", "train")


def test_a_manifest_gives_labels_and_splits(folder):
    path = write_manifest(
        folder, "path,label,split,note\nfall/ann.mp4,b,train,x\nrise/ann.mp4,a,train,\nrise/bob.mp4,a,test,\n"
    )
    source = open_videos(path)
    assert source.class_names == ("a", "b")
    assert (names(source.train), names(source.test)) == (["fall/ann.mp4", "rise/ann.mp4"], ["rise/bob.mp4"])
    assert source.split == "given by the manifest"


def test_a_manifest_gives_groups(folder):
    rows = [f"{la}/{g}.mp4,{la},{g}" for la in LABELS for g in GROUPS]
    path = write_manifest(folder, "path,label,group\n" + "\n".join(rows))
    source = open_videos(path, held_out="bob")
    assert names(source.test) == ["fall/bob.mp4", "rise/bob.mp4"]


def test_a_manifest_written_by_a_spreadsheet_is_read(folder):
    path = write_manifest(folder, "")
    path.write_bytes("\ufeffpath,label,split\r\nfall/ann.mp4,a,train\r\nfall/bob.mp4,a,test\r\n".encode())
    assert open_videos(path).class_names == ("a",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,class\nx.mp4,a\n", "lacks the column 'label'"),
        ("path,label\n", "the manifest has no rows"),
        ("path,label\nx.mp4,\n", "line 2: path and label must not be empty"),
        ("path,label,split\nx.mp4,a,valid\n", "line 2: split must be 'train', 'val' or 'test', got 'valid'"),
        ("path,label,split\nx.mp4,a,train\ny.mp4,a,\n", "1 of 2 rows have a split"),
        ("path,label,split\nx.mp4,a,train\ny.mp4,b,test\n", "y.mp4: the label 'b' occurs only in the test split"),
    ],
)
def test_a_manifest_that_does_not_work_is_explained(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        open_videos(write_manifest(tmp_path, text))


def test_unreadable_videos_are_left_out_and_listed_with_the_reason(tmp_path):
    root = write_folder(tmp_path / "videos")
    (root / "fall" / "eve.mp4").write_text("x")
    (root / "rise" / "flo.mp4").write_bytes(b"")
    source = open_videos(root, max_bad_share=0.3)
    assert sorted(bad.name for bad in source.bad_videos) == ["fall/eve.mp4", "rise/flo.mp4"]
    assert all("no video can be opened" in bad.reason for bad in source.bad_videos)
    assert {bad.split for bad in source.bad_videos} <= {"train", "test"}
    assert len(source.train) + len(source.test) == 8
    with pytest.raises(InputError, match=r"2 of 10 videos cannot be read, more than max_bad_share=0.1; .*eve"):
        open_videos(root)


def test_a_class_without_a_readable_video_stops(tmp_path):
    root = write_folder(tmp_path / "videos")
    (root / "spin").mkdir()
    for name in "abc":
        (root / "spin" / f"{name}.mp4").write_text("x")
    with pytest.raises(InputError, match="class 'spin' has no readable video to train on"):
        open_videos(root, max_bad_share=0.5)


@pytest.mark.parametrize("root", ["", "/nowhere"])
def test_a_missing_root_is_named(root):
    with pytest.raises(InputError, match=f"config.source.root: '{root}' does not exist"):
        open_videos(root)


def test_a_folder_without_classes_and_an_empty_class_are_named(tmp_path):
    with pytest.raises(InputError, match="holds no class folders; videos belong in"):
        open_videos(tmp_path)
    (tmp_path / "walk").mkdir()
    with pytest.raises(InputError, match="walk: the class folder is empty"):
        open_videos(tmp_path)


@pytest.mark.parametrize("group", ["(", "no parenthesis|fall"])
def test_a_group_pattern_that_does_not_work_is_explained(folder, group):
    with pytest.raises(InputError, match="must be a regular expression with a capture group"):
        open_videos(folder, group=group)


def test_a_video_file_alone_is_a_video(folder):
    video = open_video(folder / "fall/ann.mp4")
    assert (video.num_frames, video.fps, video.label) == (12, 10.0, 0)


def test_weizmann_leaves_one_subject_out(real_videos):
    source = open_videos(real_videos / "weizmann", group=r"/([a-z]+)_", held_out="daria")
    assert (len(source.train), len(source.test), len(source.class_names)) == (80, 10, 10)
    assert all("daria" in name for name in names(source.test))
