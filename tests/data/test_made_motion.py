"""`moving_shapes`: no single frame tells the motion, the order of frames does, and TensorFlow is not needed."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from vjax.data.datasets.moving_shapes import MOTIONS, SHAPES, draw_video

SIZE = 32


def draw(seed, motion, shape):
    return draw_video(np.random.default_rng(seed), motion=motion, shape=shape, size=SIZE)


def shape_of(frames):
    """Where the shape is, bool `(t h w)`: it is bright and the background is dark."""
    return frames.mean(-1) > 0.45 * 255


def centres(masks):
    """Returns `(t 2)` row and column of a shape's centre on the torus, in turns."""
    turns = np.exp(2j * np.pi * (np.arange(SIZE) + 0.5) / SIZE)
    rows, columns = masks.sum(2) @ turns, masks.sum(1) @ turns
    return np.angle(np.stack([rows, columns], axis=1)) / (2 * np.pi) % 1


def steps(turns):
    """Returns the way from each value to the next, in [-0.5, 0.5)."""
    return (np.diff(turns, axis=0) + 0.5) % 1 - 0.5


def tilts(masks):
    """Returns the direction of a shape's long axis, clockwise from the horizontal, in half turns `(t)`."""
    found = []
    for mask, (row, column) in zip(masks, centres(masks), strict=True):
        middle = np.roll(mask, (SIZE // 2 - int(row * SIZE), SIZE // 2 - int(column * SIZE)), (0, 1))
        rows, columns = np.nonzero(middle)
        (yy, xy), (_, xx) = np.cov(rows, columns)
        found.append(np.arctan2(2 * xy, xx - yy) / (2 * np.pi))
    return np.array(found) % 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("motion", "direction"), [("left", (0, -1)), ("right", (0, 1)), ("up", (-1, 0)), ("down", (1, 0))]
)
def test_a_shape_moves_across_the_frame_the_way_its_class_says(shape, motion, direction):
    for seed in range(3):
        moved = steps(centres(shape_of(draw(seed, motion, shape)))).mean(0)
        along = moved @ np.array(direction)
        assert 0.035 < along < 0.105  # frame widths in a frame
        assert np.abs(moved - along * np.array(direction)).max() < 0.01  # and not sideways


@pytest.mark.parametrize(("motion", "sign"), [("turn_right", 1), ("turn_left", -1)])
def test_a_shape_turns_the_way_its_class_says_and_stays_where_it_is(motion, sign):
    for seed in range(5):
        masks = shape_of(draw(seed, motion, "bar"))
        assert 0.035 < sign * np.median(steps(tilts(masks))) / 2 < 0.105  # turns in a frame
        assert np.abs(steps(centres(masks)).mean(0)).max() < 0.01


@pytest.mark.parametrize(("motion", "sign"), [("grow", 1), ("shrink", -1)])
def test_a_shape_grows_or_shrinks_in_most_frames_and_stays_where_it_is(motion, sign):
    for seed in range(5):
        masks = shape_of(draw(seed, motion, "ring"))
        assert (sign * np.diff(masks.sum((1, 2))) > 0).mean() > 0.7
        assert np.abs(steps(centres(masks)).mean(0)).max() < 0.01


@pytest.mark.parametrize("shape", SHAPES)
def test_with_the_same_random_numbers_every_motion_starts_with_the_same_frame(shape):
    videos = [draw(3, motion, shape) for motion in MOTIONS]
    assert len({len(video) for video in videos}) == 1
    for video in videos[1:]:
        np.testing.assert_array_equal(video[0], videos[0][0])


def test_place_and_size_have_one_distribution_in_every_frame_of_every_class():
    found = {}
    for number, motion in enumerate(MOTIONS):
        rows = []
        for index in range(60):
            masks = shape_of(draw((number, index), motion, "circle")[[-1]])  # as far from the start as can be
            rows.append([*centres(masks)[0], masks.sum()])
        found[motion] = np.array(rows)
    for motion, of_class in found.items():
        of_others = np.concatenate([rows for other, rows in found.items() if other != motion])
        for quantity, name in enumerate(("row", "column", "area")):
            pvalue = stats.ks_2samp(of_class[:, quantity], of_others[:, quantity]).pvalue
            assert pvalue > 1e-3, (motion, name)
    for quantity in (0, 1):  # places are uniform over the torus
        everywhere = np.concatenate(list(found.values()))[:, quantity]
        assert stats.kstest(everywhere, "uniform").pvalue > 1e-3


def test_a_data_set_is_written_and_read_without_tensorflow(tmp_path):
    code = f"""
import sys
import numpy as np
from vjax.data.sources import open_source
config = dict(name="moving_shapes", data_dir={str(tmp_path)!r}, num_train=8, num_test=8, size=16)
source = open_source(config, seed=0)
assert source.train[0].read(np.arange(3)).shape == (3, 16, 16, 3)
print("tensorflow" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "False"
