"""Made splits, for any list of files; and what manifests and folders may hold."""

import collections
import dataclasses
import pathlib
import shutil

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from made_videos import numbered_frames, write_video

from vjax.data.listing import VideoFile, list_manifest
from vjax.data.sources import open_source
from vjax.data.splits import SplitRule, read_splits, split_files
from vjax.errors import InputError
from vjax.spec import Choice

SHARES = st.floats(0.05, 0.5)
SEEDS = st.integers(0, 50)


def made_files(labels_and_groups):
    return [
        VideoFile(pathlib.Path(), f"{label}/{number}.mp4", label, "", group)
        for number, (label, group) in enumerate(labels_and_groups)
    ]


FILES = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["", "1", "2", "3", "4"])), min_size=1, max_size=20
).map(made_files)


def split(files, *, share, seed, held_out=""):
    found, _ = split_files(files, given="", rule=SplitRule(seed, held_out, share))
    return found


def labels(files, side):
    return {file.label for file in files if file.split == side}


def group_of(file):
    return file.group or file.name  # a video without a group is one by itself


def holders_of(files):
    """The groups that each class is in."""
    holders = collections.defaultdict(set)
    for file in files:
        holders[file.label].add(group_of(file))
    return holders


def can_spare_a_group(files):
    """Whether there is a group of which each class is in another group as well."""
    holders = holders_of(files).values()
    return any(all(owners != {group} for owners in holders) for group in {group_of(file) for file in files})


@settings(deadline=None)
@given(files=FILES, share=SHARES, seed=SEEDS)
def test_every_class_can_be_learned_wherever_a_group_can_be_spared(files, share, seed):
    assume(can_spare_a_group(files))
    found = split(files, share=share, seed=seed)
    assert labels(found, "train") == set(holders_of(files))
    assert labels(found, "test")


@settings(deadline=None)
@given(
    sizes=st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(1, 5), min_size=2, max_size=5), min_size=1),
    share=SHARES,
    seed=SEEDS,
)
def test_a_class_with_two_groups_of_its_own_is_in_both_splits(sizes, share, seed):
    files = made_files(
        [
            (label, f"{label}{number}")
            for label, counts in sizes.items()
            for number, count in enumerate(counts)
            for _ in range(count)
        ]
    )
    found = split(files, share=share, seed=seed)
    assert labels(found, "train") == labels(found, "test") == set(sizes)


@settings(deadline=None)
@given(files=FILES, share=SHARES, seed=SEEDS, data=st.data())
def test_a_made_split_does_not_depend_on_the_order_of_the_files(files, share, seed, data):
    assume(can_spare_a_group(files))
    shuffled = data.draw(st.permutations(files))
    sides = [{file.name: file.split for file in split(order, share=share, seed=seed)} for order in (files, shuffled)]
    assert sides[0] == sides[1]


@settings(deadline=None)
@given(files=FILES, share=SHARES, seed=SEEDS, held_out=st.sets(st.sampled_from("1234"), min_size=1))
def test_held_out_groups_and_only_they_are_the_test_split(files, share, seed, held_out):
    assume(held_out <= {file.group for file in files})
    found = split(files, share=share, seed=seed, held_out=", ".join(held_out))
    assert [file.split == "test" for file in found] == [file.group in held_out for file in files]
    assert [dataclasses.replace(file, split="") for file in found] == files


def test_where_nothing_has_a_group_none_can_be_held_out():
    files = made_files([("a", ""), ("a", "")])
    with pytest.raises(InputError, match="held_out='ann': the videos have no groups; set the source's option group"):
        split_files(files, given="given", rule=SplitRule(held_out="ann"))


# Validation splits and kept splits ----------------------------------------------------------------------------


VAL_SHARES = st.floats(0.05, 0.4)


@settings(deadline=None)
@given(files=FILES, share=SHARES, val_share=VAL_SHARES, seed=SEEDS)
def test_a_drawn_validation_split_takes_whole_groups_from_train_and_leaves_test_alone(files, share, val_share, seed):
    assume(can_spare_a_group(files))
    without = split(files, share=share, seed=seed)
    found, words = split_files(files, given="", rule=SplitRule(seed, "", share, val_share))
    assert [file.split == "test" for file in found] == [file.split == "test" for file in without]
    assert labels(found, "train") == labels(without, "train")
    sides = collections.defaultdict(set)
    for file in found:
        sides[group_of(file)].add(file.split)
    assert all(len(side) == 1 for side in sides.values())
    assert ("validation split random" in words) == any(file.split == "val" for file in found)


def test_a_class_too_small_for_a_share_has_no_validation_videos():
    files = made_files([("a", "")] * 30 + [("b", "")] * 4)
    found, _ = split_files(files, given="", rule=SplitRule(val_share=0.1))
    counts = collections.Counter((file.label, file.split) for file in found)
    assert counts == {("a", "train"): 21, ("a", "val"): 3, ("a", "test"): 6, ("b", "train"): 3, ("b", "test"): 1}


def test_a_given_validation_split_is_kept_and_none_is_drawn():
    files = [
        dataclasses.replace(file, split=("train", "train", "val", "test")[number % 4])
        for number, file in enumerate(made_files([("a", "")] * 40))
    ]
    assert split_files(files, given="given", rule=SplitRule(val_share=0.3)) == (files, "given")


def test_a_given_split_without_validation_gets_one_from_train():
    files = [
        dataclasses.replace(file, split="test" if number < 10 else "train")
        for number, file in enumerate(made_files([("a", "")] * 40))
    ]
    found, words = split_files(files, given="given by hand", rule=SplitRule(val_share=0.1))
    assert {file.name for file in found if file.split == "test"} == {f"a/{number}.mp4" for number in range(10)}
    assert sum(file.split == "val" for file in found) == 4
    assert words == "given by hand; validation split random, 10% of each class; without groups, seed 0"


@pytest.mark.parametrize("val_share", [-0.1, 0.8, 1.0])
def test_a_validation_share_that_leaves_nothing_to_train_on_is_refused(val_share):
    with pytest.raises(InputError, match=r"config.val_share must be 0 or more, and below 1 - test_share = 0.8; got"):
        SplitRule(val_share=val_share)


@settings(deadline=None)
@given(files=FILES, seed=SEEDS, data=st.data())
def test_a_kept_split_moves_no_video_whatever_is_added(tmp_path_factory, files, seed, data):
    assume(can_spare_a_group(files))
    old = split(files, share=0.3, seed=seed)
    table = tmp_path_factory.mktemp("kept") / "split.csv"
    table.write_text("name,split\n" + "".join(f"{file.name},{file.split}\n" for file in old))
    more = data.draw(FILES)
    both = files + [dataclasses.replace(file, name=f"new/{file.name}") for file in more]
    found = split_files(both, given="", rule=SplitRule(seed, keep=str(table)))[0]
    assert {file.name: file.split for file in found if not file.name.startswith("new/")} == {
        file.name: file.split for file in old
    }
    # A group that is on one side stays there, and each class that is new can be learned.
    sides = {file.group: file.split for file in old if file.group}
    assert all(file.split == sides.get(file.group, file.split) for file in found)
    assert labels(found, "train") >= labels(files, "") - {file.label for file in old if file.split != "train"}


def test_two_new_videos_join_a_kept_split_each_by_its_own_hash(tmp_path):
    table = tmp_path / "split.csv"
    old = made_files([("a", "")] * 10)
    table.write_text("path,split\n" + "".join(f"{file.name},train\n" for file in old[:9]) + f"{old[9].name},test\n")
    more = [dataclasses.replace(old[0], name=f"more/{number}.mp4") for number in range(200)]

    def sides(files):
        found = split_files(files, given="", rule=SplitRule(val_share=0.1, keep=str(table)))[0]
        return {file.name: file.split for file in found}

    everything = sides(old + more)
    assert all(sides([*old, file])[file.name] == everything[file.name] for file in more[:20])
    counts = collections.Counter(everything[file.name] for file in more)
    assert 20 <= counts["test"] <= 60
    assert counts["val"] == 0  # the kept split has no validation videos, and one of new videos alone would be odd


def test_a_kept_split_of_other_videos_is_refused(tmp_path):
    table = tmp_path / "split.csv"
    table.write_text("name,split\nb/9.mp4,train\n")
    with pytest.raises(
        InputError, match=r"names none of the 2 videos; config.keep_split is .*'b/9.mp4', and the first"
    ):
        split_files(made_files([("a", "")] * 2), given="", rule=SplitRule(keep=str(table)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\na,b\n", "a table of splits has the columns name"),
        ("name,split\na,valid\n", r"split does not know 'valid'"),
        (None, "cannot be read as a table of splits"),
    ],
)
def test_a_table_of_splits_that_is_none_is_refused_in_words(tmp_path, text, message):
    if text is not None:
        (tmp_path / "split.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_splits(tmp_path / "split.csv")


def test_adding_one_video_moves_at_most_one_other_of_a_random_split():
    files = made_files([("a", "")] * 30 + [("b", "")] * 30)
    before = {file.name: file.split for file in split(files, share=0.2, seed=0)}
    for number in range(40):
        more = [*files, dataclasses.replace(files[0], name=f"a/new{number}.mp4")]
        after = {file.name: file.split for file in split(more, share=0.2, seed=0)}
        assert sum(after[name] != before[name] for name in before) <= 1


# Folders and manifests ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "x.mkv", numbered_frames(4))


def fill(root, video, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, root / name)
    return root


def open_videos(root, *, group="", **kwargs):
    return open_source(Choice("videos", root=str(root), group=group), seed=0, **kwargs)


def test_a_class_with_a_single_video_is_trained_on(tmp_path, video):
    fill(tmp_path, video, ["a/1.mkv", *(f"b/{number}.mkv" for number in range(10))])
    source = open_videos(tmp_path)
    assert source.class_names == ("a", "b")
    assert "a/1.mkv" in [video.name for video in source.train]


def test_a_missing_file_of_a_manifest_is_a_bad_video(tmp_path, video):
    fill(tmp_path, video, ["1.mkv", "2.mkv"])
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,label,split\n1.mkv,a,train\n2.mkv,a,test\n3.mkv,a,test\n")
    (bad,) = open_videos(manifest, max_bad_share=0.5).bad_videos
    assert (bad.name, bad.split) == ("3.mkv", "test")
    assert bad.reason == f"{tmp_path}/3.mkv: no such file"


def test_a_manifest_without_a_readable_test_video_stops(tmp_path, video):
    fill(tmp_path, video, ["1.mkv", "2.mkv"])
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,label,split\n1.mkv,a,train\n2.mkv,a,train\n")
    with pytest.raises(InputError, match=r"manifest.csv: no readable video is left to test on"):
        open_videos(manifest)


def test_an_error_names_the_line_of_the_manifest_that_an_editor_shows(tmp_path):
    manifest = tmp_path / "manifest.csv"
    manifest.write_text('path,label,split\n\n1.mkv,"a\nb",train\n\n2.mkv,a,valid\n')
    with pytest.raises(InputError, match=r"manifest.csv, line 6: split must be 'train', 'val' or 'test', got 'valid'"):
        list_manifest(manifest)


def test_a_row_that_is_cut_short_is_named(tmp_path):
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,label\n1.mkv\n")
    with pytest.raises(InputError, match=r"manifest.csv, line 2: path and label must not be empty"):
        list_manifest(manifest)


@pytest.mark.parametrize("content", ["path,label\ncafé.mkv,a\n".encode("latin-1"), None], ids=["latin-1", "a video"])
def test_a_manifest_that_is_not_utf8_is_refused_in_words(tmp_path, video, content):
    manifest = tmp_path / "manifest.csv"
    manifest.write_bytes(content or video.read_bytes())
    with pytest.raises(InputError, match=r"manifest.csv"):
        list_manifest(manifest)


def test_a_parenthesis_that_takes_no_part_in_the_match_gives_no_group(tmp_path, video):
    fill(tmp_path, video, ["a/g1_x.mkv", "a/x.mkv", "a/g2_x.mkv"])
    source = open_videos(tmp_path, group=r"/(g\d)?", held_out="g1")
    assert [video.name for video in source.test] == ["a/g1_x.mkv"]


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2, 20])
def test_a_share_that_leaves_one_side_empty_is_refused(tmp_path, video, share):
    fill(tmp_path, video, [f"a/{number}.mkv" for number in range(4)])
    with pytest.raises(InputError, match="test_share"):
        open_videos(tmp_path, test_share=share)


def test_a_source_without_its_root_is_told_so():
    with pytest.raises(InputError, match=r"config.source 'videos' needs a value for: root"):
        open_source({"name": "videos"}, seed=0)


@pytest.mark.parametrize("name", ["../x.mp4", "a/../../x.mp4", "/etc/passwd"])
def test_a_manifest_stays_in_its_folder_unless_it_is_allowed_to_leave(tmp_path, name):
    manifest = tmp_path / "m" / "m.csv"
    manifest.parent.mkdir()
    manifest.write_text(f"path,label\na/b.mp4,run\n{name},run\n")
    with pytest.raises(InputError, match=r"m.csv, line 3: '.*' lies outside of .*/m; move the manifest, or allow it"):
        list_manifest(manifest)
    assert len(list_manifest(manifest, outside_root=True)) == 2
