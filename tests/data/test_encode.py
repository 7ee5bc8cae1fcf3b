import numpy as np
import pytest
from PIL import Image

from vjax.data.decode import probe, read_video
from vjax.data.encode import write_frames
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


@pytest.mark.parametrize("name", ["x.mp4", "x.gif"])
def test_a_video_reads_back_as_it_was(tmp_path, name):
    write_frames(tmp_path / name, gray(10), fps=10)
    found = read_video(tmp_path / name)
    assert found.shape == (10, 16, 18, 3)
    assert abs(found.astype(int) - gray(10)).max() <= 3
    assert probe(tmp_path / name).fps == pytest.approx(10)


def test_an_mp4_of_odd_size_repeats_its_last_row_and_column(tmp_path):
    write_frames(tmp_path / "x.mp4", gray(3, 15, 17), fps=10)
    assert read_video(tmp_path / "x.mp4").shape == (3, 16, 18, 3)


def test_another_ending_and_a_missing_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"x.webm: the ending decides .* one of .png, .gif, .mp4"):
        write_frames(tmp_path / "x.webm", gray(1), fps=10)
    with pytest.raises(InputError, match=r"there is no folder .*none"):
        write_frames(tmp_path / "none" / "x.png", gray(1), fps=10)
