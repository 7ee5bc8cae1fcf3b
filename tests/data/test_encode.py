import os
import weakref

import numpy as np
import pytest
from PIL import Image

from vjax.data.decode import probe, read_video
from vjax.data.encode import check_output, write_frames, written_size
from vjax.errors import InputError


def gray(count, height=16, width=18):
    return np.stack([np.full((height, width, 3), 20 * i, np.uint8) for i in range(count)])


def test_a_png_of_one_frame_is_the_frame(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (1, 5, 7, 3), np.uint8)
    write_frames(tmp_path / "x.png", frames, fps=10)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "x.png")), frames[0])


def test_a_png_of_a_video_is_a_strip_from_the_first_frame_to_the_last(tmp_path):
    write_frames(tmp_path / "x.PNG", gray(12, 4, 5), fps=10)
    strip = np.asarray(Image.open(tmp_path / "x.PNG"))
    assert strip.shape == (4, 8 * 5, 3)
    assert (strip[0, 0, 0], strip[0, -1, 0]) == (0, 220)


@pytest.mark.parametrize(("name", "size"), [("x.png", (3 * 19, 17)), ("x.gif", (19, 17)), ("x.mp4", (20, 18))])
def test_the_size_of_a_file_is_that_of_its_picture(tmp_path, name, size):
    write_frames(tmp_path / name, gray(3, height=17, width=19), fps=10)
    assert written_size(tmp_path / name) == size


@pytest.mark.parametrize("name", ["x.mp4", "x.gif"])
def test_a_video_reads_back_as_it_was(tmp_path, name):
    write_frames(tmp_path / name, gray(10), fps=10)
    found = read_video(tmp_path / name)
    assert found.shape == (10, 16, 18, 3)
    assert abs(found.astype(int) - gray(10)).max() <= 3
    assert probe(tmp_path / name).fps == pytest.approx(10)


@pytest.mark.parametrize("name", ["x.png", "x.mp4", "x.gif"])
def test_a_stream_is_written_as_its_array_is_and_not_held_in_memory(tmp_path, name):
    frames = np.random.default_rng(0).integers(0, 256, (150, 16, 18, 3), np.uint8)
    references, counts = [], []

    def stream():
        for frame in frames:
            references.append(weakref.ref(single := frame.copy()))
            counts.append(sum(reference() is not None for reference in references))
            yield single

    write_frames(tmp_path / name, stream(), fps=10, num_frames=150)
    write_frames(tmp_path / f"array_{name}", frames, fps=10)
    assert (tmp_path / name).read_bytes() == (tmp_path / f"array_{name}").read_bytes()
    assert max(counts) <= 10


def test_a_gif_has_a_palette_for_each_frame(tmp_path):
    ramp = np.arange(240, dtype=np.uint8).reshape(12, 20)
    frames = np.zeros((3, 12, 20, 3), np.uint8)
    for index in range(3):
        frames[index, ..., index] = ramp
    write_frames(tmp_path / "x.gif", frames, fps=10)
    assert abs(read_video(tmp_path / "x.gif").astype(int) - frames).max() <= 3


@pytest.mark.parametrize(("fps", "total_s"), [(30000 / 1001, 2.0), (120, 1.2)])
def test_a_gif_plays_at_its_rate_but_not_above_50_frames_per_second(tmp_path, fps, total_s):
    frames = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 3), np.uint8)
    write_frames(tmp_path / "x.gif", frames, fps=fps)
    with Image.open(tmp_path / "x.gif") as image:
        durations = []
        for index in range(image.n_frames):
            image.seek(index)
            durations.append(image.info["duration"])
    assert sum(durations) / 1000 == pytest.approx(total_s, abs=0.03)
    assert min(durations) >= 20


def test_an_mp4_of_odd_size_repeats_its_last_row_and_column(tmp_path):
    write_frames(tmp_path / "x.mp4", gray(3, 15, 17), fps=10)
    assert read_video(tmp_path / "x.mp4").shape == (3, 16, 18, 3)


def test_another_ending_and_a_missing_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"x.webm: the ending decides .* one of .png, .gif, .mp4"):
        write_frames(tmp_path / "x.webm", gray(1), fps=10)
    with pytest.raises(InputError, match=r"x.png cannot be written: there is no folder .*none"):
        write_frames(tmp_path / "none" / "x.png", gray(1), fps=10)


def test_a_file_that_cannot_be_written_is_refused_before_frames_are_computed(tmp_path, monkeypatch):
    (tmp_path / "folder.gif").mkdir()
    with pytest.raises(InputError, match=r"folder.gif cannot be written: it is a folder"):
        check_output(tmp_path / "folder.gif")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root, who may write everywhere
    with pytest.raises(InputError, match=r"x.png cannot be written: no permission"):
        check_output(tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full, the disk that is always full")
@pytest.mark.parametrize("name", ["x.png", "x.mp4", "x.gif"])
def test_a_full_disk_is_an_error_of_one_line(tmp_path, name):
    (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(InputError, match=rf"{name} cannot be written: No space left on device"):
        write_frames(tmp_path / name, gray(10), fps=10)


@pytest.mark.parametrize(("name", "most"), [("x.mp4", 16384), ("x.gif", 65535)])
def test_a_frame_that_is_too_large_for_the_format_is_refused(tmp_path, name, most):
    with pytest.raises(InputError, match=f"has up to {most} rows and columns, and the frames have 66000 rows"):
        write_frames(tmp_path / name, np.zeros((1, 66000, 2, 3), np.uint8), fps=10)
