"""What decoding finds is kept between runs, and never taken for a file that has changed."""

import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_videos import numbered_frames, write_video

from vjax.data import decode, doctor
from vjax.data.index_cache import Entry, Stamp, kept_index, pack, unpack
from vjax.data.sources import open_source
from vjax.data.splits import SplitRule
from vjax.data.transforms import TrainView
from vjax.ops.sampling import ClipTiming

LONG_AGO_NS = 10**18


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """The cache folder of a test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return tmp_path / "caches"


@pytest.fixture
def opened(monkeypatch):
    """The files that were opened for decoding; the test may clear the list."""
    opened, open_file = [], av.open
    monkeypatch.setattr("av.open", lambda *args, **kwargs: opened.append(args) or open_file(*args, **kwargs))
    return opened


def write(path, num_frames, *, mtime_ns=LONG_AGO_NS):
    """Writes a video that was last changed at a given time."""
    write_video(path, numbered_frames(num_frames))
    os.utime(path, ns=(mtime_ns, mtime_ns))


@pytest.fixture
def folder(tmp_path):
    """Six videos of two classes; those in Matroska have a table of seek positions."""
    for label in ("fall", "rise"):
        (tmp_path / "videos" / label).mkdir(parents=True)
        for number, suffix in enumerate((".mkv", ".avi", ".mp4")):
            write(tmp_path / "videos" / label / f"{number}{suffix}", 20 + number)
    return tmp_path / "videos"


def videos_of(source):
    """All that a source knows of its videos, as plain values."""
    return [
        (video.name, video.label, video.num_frames, video.fps, video.read.path, plain(video.read.seeks))
        for video in [*source.train, *source.test]
    ]


def plain(seeks):
    if seeks is None:
        return None
    return (seeks.pts.dtype, seeks.pts.tolist(), seeks.keyframes.dtype, seeks.keyframes.tolist(), seeks.checksums)


def open_folder(root, **kwargs):
    return open_source({"name": "videos", "root": str(root)}, seed=0, max_bad_share=0.5, **kwargs)


def cache_file(caches):
    (path,) = (caches / "vjax" / "index").iterdir()
    return path


def test_a_second_start_decodes_nothing_and_opens_the_same_videos(folder, opened):
    first = open_folder(folder)
    assert len(opened) == 6
    opened.clear()
    reported = []
    second = open_folder(folder, advance=lambda *progress: reported.append(progress))
    assert opened == []
    assert reported == [(6, 6)]
    assert videos_of(second) == videos_of(first)
    assert sum(video.read.seeks is not None for video in [*second.train, *second.test]) == 2


def test_real_videos_have_the_same_frames_at_a_second_start(real_videos, opened):
    root = real_videos / "weizmann"
    first, second = (open_source({"name": "weizmann", "root": str(root)}, seed=0) for _ in range(2))
    assert len(opened) == len(first.train) + len(first.test)
    assert videos_of(second) == videos_of(first)
    for before, now in zip(first.test, second.test, strict=True):
        indices = np.array([now.num_frames - 1, 0, now.num_frames // 2])
        np.testing.assert_array_equal(now.read(indices), before.read(indices))


def test_seeking_with_a_kept_table_finds_the_frames_of_real_videos(real_videos, tmp_path):
    lines = ["path,label,split"]
    for number, path in enumerate(sorted((real_videos / "odd").iterdir())):
        lines += [f"{path},odd,{'test' if number % 2 else 'train'}"]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    options = {"name": "videos", "root": str(tmp_path / "m.csv"), "outside_root": True}
    first, second = (open_source(options, seed=0, max_bad_share=0.99) for _ in range(2))
    assert videos_of(second) == videos_of(first)
    assert second.bad_videos == first.bad_videos
    seekable = [video for video in [*second.train, *second.test] if video.read.seeks is not None]
    assert seekable
    for video in seekable:
        indices = np.array([video.num_frames - 1, 0, video.num_frames // 2])
        expected = decode.read_frames(video.read.path, indices)
        np.testing.assert_array_equal(video.read(indices), expected)


@pytest.mark.parametrize("change", ["content", "length"])
def test_a_file_with_other_content_is_decoded_again(folder, opened, change):
    before = open_folder(folder)
    path, old = folder / "fall" / "0.mkv", (folder / "fall" / "0.mkv").stat()
    if change == "content":  # of the same size
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(path, ns=(LONG_AGO_NS + 1, LONG_AGO_NS + 1))
        assert path.stat().st_size == old.st_size
    else:  # at the same time
        write(path, 9)
        assert path.stat().st_mtime_ns == old.st_mtime_ns
    opened.clear()
    after = open_folder(folder)
    assert len(opened) == 1
    num_frames = {video[0]: video[2] for video in videos_of(after)}
    assert num_frames["fall/0.mkv"] == (20 if change == "content" else 9)
    assert len(videos_of(before)) == len(videos_of(after))


def test_a_file_that_was_just_changed_is_not_kept_because_it_may_change_again_at_the_same_time(folder, opened):
    path = folder / "fall" / "0.mkv"
    path.touch()
    open_folder(folder)
    opened.clear()
    open_folder(folder)
    assert len(opened) == 1


def test_a_copy_of_a_dataset_has_an_index_of_its_own(folder, opened, tmp_path):
    open_folder(folder)
    shutil.copytree(folder, tmp_path / "copy")
    opened.clear()
    open_folder(tmp_path / "copy")
    assert len(opened) == 6


def test_an_unreadable_file_is_tried_again(folder, opened):
    path = folder / "fall" / "bad.mp4"
    path.write_bytes(b"no video")
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    first = open_folder(folder)
    opened.clear()
    assert open_folder(folder).bad_videos == first.bad_videos != ()
    assert len(opened) == 1


def test_what_was_found_before_an_interruption_is_kept(folder):
    def interrupt(done, total):
        del total
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_folder(folder, advance=interrupt)
    reported = []
    open_folder(folder, advance=lambda *progress: reported.append(progress))
    assert reported == [(4, 6), (5, 6), (6, 6)]


def flip_a_bit(content):
    middle = len(content) * 2 // 3
    return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content[:70],
        lambda content: b"something else\n",
        lambda content: content.replace(b"vjax index ", b"vjax index 9", 1),
        flip_a_bit,
    ],
    ids=["empty", "cut by a byte", "cut in half", "cut in the head", "foreign", "another version", "flipped bit"],
)
def test_a_cache_file_that_is_not_whole_is_ignored_and_written_anew(folder, opened, caches, damage):
    first = open_folder(folder)
    path = cache_file(caches)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    opened.clear()
    assert videos_of(open_folder(folder)) == videos_of(first)
    assert len(opened) == 6
    opened.clear()
    assert videos_of(open_folder(folder)) == videos_of(first)
    assert opened == []


@pytest.mark.parametrize("version", ["__version__", "ffmpeg_version_info"])
def test_the_index_of_another_decoder_is_not_used(folder, opened, monkeypatch, version):
    open_folder(folder)
    monkeypatch.setattr(av, version, "0.0.1")
    opened.clear()
    open_folder(folder)
    assert len(opened) == 6


def test_a_cache_folder_that_cannot_be_written_is_no_error(folder, opened, caches):
    caches.write_text("a file where the folder should be")
    first = open_folder(folder)
    assert videos_of(open_folder(folder)) == videos_of(first)
    assert len(opened) == 12


def test_without_a_cache_folder_the_videos_open_all_the_same(folder, opened, monkeypatch):
    monkeypatch.setattr("vjax.data.index_cache.cache_folder", lambda: None)
    first = open_folder(folder)
    assert videos_of(open_folder(folder)) == videos_of(first)
    assert len(opened) == 12


def test_the_doctor_decodes_every_file_and_fills_the_cache(folder, opened):
    view = TrainView(ClipTiming(4, stride=2), (16, 16))
    path = folder / "fall" / "0.mkv"
    doctor.examine({"name": "videos", "root": str(folder)}, view, batch_size=8, rule=SplitRule())
    opened.clear()
    open_folder(folder)
    assert opened == []
    # Damage that changes neither the size nor the time of a file: only decoding finds it.
    path.write_bytes(bytes(path.stat().st_size))
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    assert open_folder(folder).bad_videos == ()
    (bad,) = doctor.examine({"name": "videos", "root": str(folder)}, view, batch_size=8, rule=SplitRule()).facts[
        "unreadable"
    ]
    assert bad["name"] == "fall/0.mkv"
    # What the doctor finds, the next run knows.
    assert [bad.name for bad in open_folder(folder).bad_videos] == ["fall/0.mkv"]


def test_files_that_are_gone_leave_the_index_and_files_that_are_not_listed_stay(folder):
    open_folder(folder)
    (folder / "fall" / "0.mkv").rename(folder / "fall" / "new.mkv")
    with kept_index(str(folder)) as index:
        index.add(folder / "rise" / "0.mkv", Entry(Stamp(1, 2), decode.VideoInfo(3, 4.0, 5, 6)))
    with kept_index(str(folder)) as index:
        assert {Path(path).relative_to(folder).as_posix() for path in index.entries} == {
            "fall/1.avi", "fall/2.mp4", "rise/0.mkv", "rise/1.avi", "rise/2.mp4",
        }  # fmt: skip
        assert index.entries[str(folder / "rise" / "0.mkv")].info.num_frames == 3


int64 = st.integers(-(2**63), 2**63 - 1)
seek_tables = st.lists(int64, unique=True, min_size=2).flatmap(
    lambda pts: st.builds(
        decode.SeekTable,
        st.just(np.array(sorted(pts))),
        st.just(np.arange(len(pts))),
        st.lists(st.integers(0, 2**32 - 1), min_size=len(pts), max_size=len(pts)).map(tuple),
    )
)
infos = st.builds(
    decode.VideoInfo, st.integers(1, 10**6), st.floats(1e-3, 1e4), *[st.integers(1, 10**4)] * 2, st.none() | seek_tables
)
names = st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name).map(os.fsdecode)
stamps = st.builds(Stamp, st.integers(0, 2**62), int64)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, st.builds(Entry, stamps, infos)))
def test_an_index_reads_back_as_it_was_written(entries):
    kept = unpack(pack(entries))
    assert list(kept) == list(entries)
    for name, (stamp, info) in entries.items():
        again = kept[name].info
        assert kept[name].stamp == stamp
        assert (again.num_frames, again.fps, again.height, again.width) == (
            info.num_frames, info.fps, info.height, info.width
        )  # fmt: skip
        assert plain(again.seeks) == plain(info.seeks)
