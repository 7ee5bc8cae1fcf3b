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
from vjax.data.splits import split_files
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
    found, _ = split_files(files, given="", held_out=held_out, test_share=share, seed=seed)
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
        split_files(files, given="given", held_out="ann", test_share=0.2, seed=0)


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
    with pytest.raises(InputError, match=r"manifest.csv, line 6: split must be 'train' or 'test', got 'valid'"):
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
