import itertools

import numpy as np
import pytest

from vjax.data.datasets.moving_shapes import MOTIONS, SHAPES, Options, draw_video, open_split, prepare
from vjax.data.sources import open_source
from vjax.errors import InputError

OPTIONS = Options(label="motion", num_train=16, num_test=8, num_val=8, size=24)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def draw(motion, shape="circle", seed=0, size=48):
    return draw_video(np.random.default_rng(seed), motion=motion, shape=shape, size=size).astype(np.float64)


def covered(frames, background=None):
    """Where a video shows its shape: bool `(f h w)`."""
    background = np.median(frames, axis=0) if background is None else background
    return np.abs(frames - background).max(-1) > 40


def torus_centre(mask, axis):
    """The place of a shape along an axis of the torus, in turns, for each frame."""
    angle = 2 * np.pi * np.arange(mask.shape[axis + 1]) / mask.shape[axis + 1]
    weights = mask.sum(axis=2 - axis)
    return np.angle((weights * np.exp(1j * angle)).sum(1)) / (2 * np.pi)


@pytest.mark.parametrize(("motion", "axis", "sign"), [("left", 1, -1), ("right", 1, 1), ("up", 0, -1), ("down", 0, 1)])
def test_a_shape_moves_the_way_its_class_says(motion, axis, sign):
    for seed in range(5):
        centre = torus_centre(covered(draw(motion, seed=seed)), axis)
        moves = (np.diff(centre) + 0.5) % 1 - 0.5
        assert sign * np.median(moves) > 0.02


@pytest.mark.parametrize(("motion", "sign"), [("grow", 1), ("shrink", -1)])
def test_a_shape_changes_size_the_way_its_class_says(motion, sign):
    for seed in range(5):
        # The same draws with another motion show the background that a shape on one spot hides.
        background = np.median(draw("right", shape="ring", seed=seed), axis=0)
        size = covered(draw(motion, shape="ring", seed=seed), background).sum((1, 2))
        assert sign * np.median(np.diff(size)) > 0


def test_turning_left_shows_the_frames_of_turning_right_backwards():
    # The same draws: the two differ in the sign of the turn alone.
    left, right = (draw(motion, shape="bar", seed=3) for motion in ("turn_left", "turn_right"))
    np.testing.assert_allclose(left[0], right[0], atol=1)
    assert np.abs(left[2] - right[2]).mean() > 3


def test_single_frames_look_alike_whatever_the_motion():
    """Mean picture, brightness and covered area of one frame do not tell the classes apart."""
    numbers = {}
    for motion in MOTIONS:
        frames = np.stack([draw(motion, SHAPES[s % 6], seed=s, size=24)[5] for s in range(90)])
        brightness = frames.mean((1, 2, 3))
        contrast = frames.std((1, 2, 3))
        numbers[motion] = np.stack([brightness, contrast], axis=1)
    for first, second in itertools.combinations(MOTIONS, 2):
        a, b = numbers[first], numbers[second]
        error = np.sqrt(a.var(0) / len(a) + b.var(0) / len(b))
        assert (np.abs(a.mean(0) - b.mean(0)) < 4 * error).all(), (first, second)


def test_a_video_is_drawn_from_its_random_numbers_alone():
    np.testing.assert_array_equal(draw("grow", seed=1), draw("grow", seed=1))
    assert 20 <= len(draw("grow", seed=1)) <= 28


def test_the_data_set_is_written_once_and_then_found(data_dir):
    builder = prepare(OPTIONS, data_dir=data_dir)
    written = {path: path.stat().st_mtime_ns for path in data_dir.rglob("*array_record*")}
    assert written
    again = prepare(OPTIONS, data_dir=data_dir)
    assert {path: path.stat().st_mtime_ns for path in data_dir.rglob("*array_record*")} == written
    records = [open_split(b, "train")[3] for b in (builder, again)]
    np.testing.assert_array_equal(records[0].read(np.arange(5)), records[1].read(np.arange(5)))


@pytest.mark.parametrize(
    ("label", "num_classes"), [("motion", 8), ("shape", 6), ("both", 48)], ids=["motion", "shape", "both"]
)
def test_the_label_is_what_the_config_asks_for(data_dir, label, num_classes):
    config = {"name": "moving_shapes", "data_dir": str(data_dir), "num_train": 16, "num_test": 8, "size": 24}
    source = open_source({**config, "label": label}, seed=0)
    assert len(source.class_names) == num_classes
    assert list(source.class_names) == sorted(source.class_names)
    for position in range(len(source.train)):
        video = source.train[position]
        _, _, shape, motion = video.name.split("-")
        expected = {"motion": motion, "shape": shape, "both": f"{shape}_{motion}"}[label]
        assert source.class_names[video.label] == expected


def test_a_record_reads_any_of_its_frames(data_dir):
    video = open_split(prepare(OPTIONS, data_dir=data_dir), "test")[0]
    frames = video.read(np.arange(video.num_frames))
    assert frames.shape == (video.num_frames, 24, 24, 3)
    np.testing.assert_array_equal(video.read(np.array([7, 2, 7])), frames[[7, 2, 7]])


def test_the_splits_hold_different_videos(data_dir):
    builder = prepare(OPTIONS, data_dir=data_dir)
    first = [open_split(builder, split)[0].read(np.array([0])) for split in ("train", "test", "val")]
    for one, other in itertools.combinations(first, 2):
        assert np.abs(one.astype(int) - other).mean() > 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "colour"}, "label must be 'motion', 'shape' or 'both', got 'colour'"),
        ({"size": 8}, "frames of 16 pixels or more"),
        ({"num_test": 0}, "needs videos to train and to test on"),
        ({"sizes": 8}, "does not know 'sizes'; did you mean 'size'"),
    ],
)
def test_options_that_do_not_work_are_explained(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        open_source({"name": "moving_shapes", "data_dir": str(tmp_path), **options}, seed=0)


def test_there_are_no_groups_to_hold_out(tmp_path):
    with pytest.raises(InputError, match="no groups to hold out, got held_out='ann'"):
        open_source({"name": "moving_shapes", "data_dir": str(tmp_path)}, seed=0, held_out="ann")
