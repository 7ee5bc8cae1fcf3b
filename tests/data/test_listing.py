"""What a folder of files means: videos are listed, notes are left out, frames in files of their own are explained."""

import shlex
import tempfile
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_videos import numbered_frames, numbers
from PIL import Image
from video_files import write_folder

from vjax.data import prepare
from vjax.data.decode import probe, read_video
from vjax.data.listing import Listing, check_listing, list_folder
from vjax.data.sources import open_source
from vjax.errors import InputError
from vjax.spec import Choice

VIDEOS = ("a/1.mp4", "a/day 2/2.mkv", "b/3.avi", "b/mp4")  # a video without an ending is a video
NOTES = ("notes.txt", "README.md", "labels.CSV", "x.json", "x.xml", "1.srt", "Thumbs.db", "desktop.ini", ".DS_Store")


def touch(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def listed(root):
    return [file.name for file in list_folder(root).files]


def problem(root):
    (line,) = list_folder(root).problems
    return line


def test_folders_inside_a_class_are_listed_but_not_hidden_ones(tmp_path):
    touch(tmp_path, ["a/1.mkv", "a/day 2/2.mkv", "a/.thumbnails/3.mkv", "a/.4.mkv", ".b/5.mkv", "c/6.mkv"])
    assert listed(tmp_path) == ["a/1.mkv", "a/day 2/2.mkv", "c/6.mkv"]


@settings(deadline=None, max_examples=40)
@given(
    places=st.lists(
        st.tuples(st.sampled_from(["a", "a/day 2", "b", "b/new"]), st.sampled_from(NOTES), st.booleans()), max_size=8
    )
)
def test_notes_and_system_files_change_no_listing(places):
    with tempfile.TemporaryDirectory() as folder:
        root = touch(Path(folder), VIDEOS)
        touch(root, [f"{place}/{name.upper() if loud else name}" for place, name, loud in places])
        found = list_folder(root)
    assert [file.name for file in found.files] == list(VIDEOS)
    assert found.problems == ()


@pytest.mark.parametrize(
    "name", ["x.mp4", "x.txt.mp4", "txt", "Thumbs.db.avi", "x.ini", "x.db", "x.m3u8", "x.jpg", "7.jpg", "x.log", "x"]
)
def test_every_other_file_is_listed(tmp_path, name):
    touch(tmp_path, [*VIDEOS, f"b/{name}"])
    assert sorted(listed(tmp_path)) == sorted({*VIDEOS, f"b/{name}"})


def test_notes_do_not_count_towards_the_share_of_unreadable_videos(tmp_path):
    root = write_folder(tmp_path / "v")
    touch(root, [f"fall/{name}" for name in NOTES])
    assert open_source(Choice("videos", root=str(root)), seed=0, max_bad_share=0).bad_videos == ()


def test_empty_class_folders_are_problems_and_the_others_are_listed(tmp_path):
    touch(tmp_path, VIDEOS)
    (tmp_path / "c").mkdir()
    touch(tmp_path, ["d/notes.txt"])
    found = list_folder(tmp_path)
    assert [file.name for file in found.files] == list(VIDEOS)
    assert found.problems == (
        f"{tmp_path}/c: the class folder is empty; put videos into it or remove it",
        f"{tmp_path}/d: the class folder holds no videos, only files such as notes.txt; put videos into it or "
        "remove it",
    )


def test_a_listing_with_problems_is_refused_by_training_and_prepare(tmp_path):
    root = write_folder(tmp_path / "v")
    for name in ("spin", "walk"):
        (root / name).mkdir()
    source = Choice("videos", root=str(root))
    message = r"spin: the class folder is empty; put videos .* \(`vjax doctor` lists 1 more problem\(s\)\)"
    with pytest.raises(InputError, match=message):
        open_source(source, seed=0)
    with pytest.raises(InputError, match=message):
        prepare.prepare(
            list_folder(root),
            source,
            tmp_path / "store",
            prepare.Options(),
            run=prepare.run_here,
            advance=lambda done, total: None,
        )
    assert not (tmp_path / "store").exists()
    check_listing(Listing(()))


# Frames --------------------------------------------------------------------------------------------------------


def write_frames(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for frame, name in zip(numbered_frames(len(names)), names, strict=True):
        Image.fromarray(frame).save(folder / name)


FRAMES = {
    # The names of six frames, the folder they are in, and the video that the advice makes of them.
    "padded": ("{:04d}.jpg", 1, "a/ann", "a/ann.mkv"),
    "bare": ("img{}.png", 7, "a/ann", "a/ann.mkv"),  # img9.png comes before img10.png
    "late": ("x_{:05d}.JPEG", 120, "a/day 1/ann's", "a/day 1/ann's.mkv"),
    "in the class folder": ("ann_{:03d}.png", 0, "a", "a/ann.mkv"),
    "without a name": ("{:03d}.png", 0, "a", "a/a.mkv"),
    "percent": ("5%d_{:02d}.jpg", 1, "a/50%", "a/50%.mkv"),
    "bitmaps": ("{:02d}.bmp", 1, "a/ann", "a/ann.mkv"),
}


def run_ffmpeg(words):
    """Does what `ffmpeg` does with the words of the advice: `ffmpeg -framerate 25 ... -i PATTERN -c:v CODEC VIDEO`."""
    *options, flag, codec, video = words[1:]
    options = dict(zip(options[::2], options[1::2], strict=True))
    assert (words[0], flag) == ("ffmpeg", "-c:v")
    pattern = options.pop("-i")
    given = {key.removeprefix("-"): value for key, value in options.items()}
    with av.open(pattern, format="image2", options=given) as pictures, av.open(video, "w") as out:
        source = pictures.streams.video[0]
        if codec == "copy":
            stream = out.add_stream_from_template(source)
            for packet in pictures.demux(source):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
            return
        stream = out.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = source.height, source.width, "bgr0"
        for frame in pictures.decode(source):
            out.mux(stream.encode(frame.reformat(format="bgr0")))
        out.mux(stream.encode())


@pytest.mark.parametrize("case", FRAMES)
def test_the_advice_about_a_folder_of_frames_makes_a_video_of_them(tmp_path, case):
    pattern, first, folder, video = FRAMES[case]
    write_frames(tmp_path / folder, [pattern.format(first + number) for number in range(6)])
    assert listed(tmp_path) == []
    line = problem(tmp_path)
    assert line.startswith(
        f"{tmp_path}: holds the frames of 1 video(s) as pictures, such as the 6 in {tmp_path / folder}; "
        "a video is one file. Make a file of each, with its frames per second: ffmpeg -framerate 25 "
    )
    command = line.partition("per second: ")[2].removesuffix("; then remove the pictures")
    run_ffmpeg(shlex.split(command))
    assert numbers(read_video(tmp_path / video)) == list(range(6))
    assert probe(tmp_path / video).fps == 25


def test_all_folders_of_frames_are_one_problem_and_the_videos_are_listed(tmp_path):
    touch(tmp_path, VIDEOS)
    for number in range(30):
        touch(tmp_path, [f"b/clip{number}/{frame:03d}.jpg" for frame in range(20)])
    assert listed(tmp_path) == list(VIDEOS)
    assert "holds the frames of 30 video(s) as pictures, such as the 20 in " in problem(tmp_path)


def test_a_class_of_frames_alone_is_not_called_empty_as_well(tmp_path):
    touch(tmp_path, ["a/1.mp4", *(f"b/{number}.jpg" for number in range(9)), "b/notes.txt"])
    assert "holds the frames of 1 video(s)" in problem(tmp_path)


def test_training_refuses_frames_with_the_advice(tmp_path):
    root = write_folder(tmp_path / "v")
    write_frames(root / "fall" / "eve", [f"{number:03d}.jpg" for number in range(9)])
    with pytest.raises(InputError, match=r"v: holds the frames of 1 video\(s\) as pictures, such as the 9 in .*/eve; "):
        open_source(Choice("videos", root=str(root)), seed=0)


@pytest.mark.parametrize(
    "pictures",
    [
        ["1.jpg", "2.jpg"],  # a numbered picture of each video
        ["poster.jpg"],
        ["poster 1.jpg"],
        ["1.jpg", "1.png", "x1.jpg"],  # not one series
    ],
)
def test_pictures_of_videos_are_not_frames(tmp_path, pictures):
    touch(tmp_path, ["a/1.mp4", "a/2.mp4", *(f"a/{name}" for name in pictures)])
    found = list_folder(tmp_path)
    assert {file.name for file in found.files} == {"a/1.mp4", "a/2.mp4", *(f"a/{name}" for name in pictures)}
    assert found.problems == ()


def test_a_picture_of_a_video_is_an_unreadable_file_with_its_reason(tmp_path):
    root = write_folder(tmp_path / "v")
    Image.fromarray(numbered_frames(1)[0]).save(root / "fall" / "poster.jpg")
    (bad,) = open_source(Choice("videos", root=str(root)), seed=0, max_bad_share=0.2).bad_videos
    assert bad.name == "fall/poster.jpg"
    assert bad.reason.endswith(
        "poster.jpg: is a picture (JPEG), not a video; remove it, or turn pictures into a video file with ffmpeg"
    )
