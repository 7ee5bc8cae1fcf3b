import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vjax.data import pipeline
from vjax.data.pipeline import Order, Shard
from vjax.data.transforms import Mix, TestView, TrainView
from vjax.data.video import Video
from vjax.errors import InputError
from vjax.ops.sampling import ClipTiming

TIMING = ClipTiming(2, stride=2)
TRAIN_VIEW = TrainView(TIMING, (4, 4))
TEST_VIEW = TestView(TIMING, (4, 4), num_clips=2)
UNMIXED, MIX = Mix(), Mix(mixup=0.8, cutmix=1.0)
each_mix = pytest.mark.parametrize("mix", [UNMIXED, MIX], ids=["unmixed", "mixed"])


def read_noise(indices):
    return np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)[indices]


def make_videos(count):
    """Videos whose label is their position."""
    return [Video(str(i), i, 12, 10.0, read_noise) for i in range(count)]


def train(
    count=10, *, batches=6, batch_size=4, seed=0, start_step=0, num_workers=0, part=(0, 1), mix=UNMIXED, view=TRAIN_VIEW
):
    found = pipeline.train_batches(
        make_videos(count),
        view,
        Shard(batch_size, *part),
        order=Order(seed),
        start_step=start_step,
        num_workers=num_workers,
        mix=mix,
    )
    return list(itertools.islice(found, batches))


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def test_a_batch_has_the_shapes_and_types_of_its_parts():
    (batch,) = train(batches=1)
    shapes = {key: (rows.shape, rows.dtype) for key, rows in batch.items()}
    assert shapes == {
        "clips": ((4, 2, 4, 4, 3), np.uint8),
        "label": ((4,), np.int32),
        "position": ((4,), np.int32),
    }


def test_a_mixed_batch_also_has_the_partners_labels_and_the_shares():
    (batch,) = train(batches=1, mix=MIX)
    shapes = {key: (rows.shape, rows.dtype) for key, rows in batch.items()}
    assert shapes == {
        "clips": ((4, 2, 4, 4, 3), np.uint8),
        "label": ((4,), np.int32),
        "other_label": ((4,), np.int32),
        "share": ((4,), np.float32),
        "position": ((4,), np.int32),
    }


def test_what_is_mixed_are_the_clips_that_are_seen_without_mixing():
    for plain, mixed in zip(train(), train(mix=Mix(mixup=0.8)), strict=True):
        np.testing.assert_array_equal(mixed["label"], plain["label"])
        np.testing.assert_array_equal(mixed["other_label"], np.roll(plain["label"], 1))
        share = mixed["share"].reshape(-1, 1, 1, 1, 1)
        expected = share * plain["clips"] + (1 - share) * np.roll(plain["clips"], 1, axis=0)
        np.testing.assert_allclose(mixed["clips"], expected, atol=0.51)


@each_mix
def test_the_seed_decides_order_and_views(mix):
    assert_same(train(mix=mix), train(mix=mix))
    assert any((a["label"] != b["label"]).any() for a, b in zip(train(), train(seed=1), strict=True))


@pytest.mark.parametrize("count", [2, 4])
def test_global_batches_are_the_same_for_any_number_of_processes(count):
    parts = [train(part=(index, count)) for index in range(count)]
    together = [
        {key: np.concatenate([part[key] for part in step]) for key in step[0]} for step in zip(*parts, strict=True)
    ]
    assert_same(together, train())


class Draws:
    """In place of a view and of a mix: it shows what is drawn."""

    def __call__(self, given, rng):
        return given | {"drawn": rng.integers(2**63)} if isinstance(given, dict) else rng.integers(2**63)


def test_no_two_clips_batches_or_processes_draw_the_same_numbers():
    drawn = []
    for index in range(8):
        for batch in train(batches=4, batch_size=16, part=(index, 8), mix=Draws(), view=Draws()):
            drawn += [batch["drawn"], *batch["clips"]]
    assert len(set(drawn)) == len(drawn) == 8 * 4 * 3


@pytest.mark.parametrize("count", [1, 2])
def test_every_process_mixes_its_own_rows_in_a_way_that_comes_back(count):
    parts = [train(part=(index, count), mix=MIX) for index in range(count)]
    for index, part in enumerate(parts):
        assert_same(part, train(part=(index, count), mix=MIX))
        for batch in part:
            np.testing.assert_array_equal(batch["other_label"], np.roll(batch["label"], 1))
    shares = [[batch["share"][0] for batch in part] for part in parts]
    assert len(set(map(tuple, shares))) == count


@each_mix
@pytest.mark.parametrize("start_step", [1, 4])
def test_starting_at_a_step_gives_the_batches_from_there_on(start_step, mix):
    assert_same(train(start_step=start_step, batches=6 - start_step, mix=mix), train(mix=mix)[start_step:])


def test_worker_processes_read_the_same_batches():
    assert_same(train(batches=3, num_workers=2, mix=MIX), train(batches=3, mix=MIX))


def test_every_epoch_shows_every_video_once_in_another_order():
    labels = np.concatenate([batch["label"] for batch in train(8, batches=6)]).reshape(3, 8)
    for epoch in labels:
        assert sorted(epoch) == list(range(8))
    assert len({tuple(epoch) for epoch in labels}) == 3


def test_with_balanced_classes_each_is_drawn_equally_often_in_an_epoch_and_so_is_each_of_its_videos():
    classes = ((0, 1, 2, 3, 4, 5, 6, 7), (8, 9))
    found = pipeline.train_batches(
        make_videos(10), TRAIN_VIEW, Shard(10), order=Order(0, classes), start_step=0, num_workers=0
    )
    epochs = [batch["position"].tolist() for batch in itertools.islice(found, 200)]
    assert all(sum(position >= 8 for position in epoch) == 5 for epoch in epochs)
    counts = np.bincount(np.concatenate(epochs), minlength=10)
    np.testing.assert_allclose(counts, [125] * 8 + [500] * 2, rtol=0.3)


@pytest.mark.parametrize("start_step", [1, 7])
def test_balanced_batches_do_not_depend_on_the_step_at_which_reading_starts(start_step):
    def read(start_step, batches):
        order = Order(3, ((0, 1, 2), (3,)))
        found = pipeline.train_batches(
            make_videos(4), TRAIN_VIEW, Shard(4), order=order, start_step=start_step, num_workers=0
        )
        return list(itertools.islice(found, batches))

    assert_same(read(0, start_step + 2)[start_step:], read(start_step, 2))


def test_a_batch_may_be_larger_than_the_data():
    (batch,) = train(3, batches=1, batch_size=8)
    assert len(batch["label"]) == 8
    assert set(batch["label"]) == {0, 1, 2}


@settings(deadline=None, max_examples=15)
@given(count=st.integers(1, 12), batch_size=st.sampled_from([1, 2, 4, 6]), num_shards=st.sampled_from([1, 2]))
def test_in_evaluation_every_video_counts_exactly_once(count, batch_size, num_shards):
    batch_size *= num_shards
    seen = []
    for index in range(num_shards):
        batches = pipeline.test_batches(
            make_videos(count), TEST_VIEW, Shard(batch_size, index, num_shards), num_workers=0
        )
        for batch in batches:
            assert batch["clips"].shape == (batch_size // num_shards, 2, 2, 4, 4, 3)
            assert (batch["clips"][~batch["mask"]] == 0).all()
            np.testing.assert_array_equal(batch["label"][batch["mask"]], batch["position"][batch["mask"]])
            seen += batch["position"][batch["mask"]].tolist()
    assert sorted(seen) == list(range(count))


def test_a_batch_that_processes_cannot_share_evenly_is_refused():
    with pytest.raises(InputError, match="a batch of 4 cannot be split over 3 processes evenly"):
        train(part=(0, 3))


def test_a_clip_without_a_partner_is_not_mixed_but_refused():
    assert len(train(batch_size=2, part=(0, 2))) == 6
    with pytest.raises(InputError, match=r"config.mix needs 2 clips or more .* a batch of 2 over 2 process\(es\)"):
        train(batch_size=2, part=(0, 2), mix=MIX)


def test_memory_stays_flat_over_many_clips():
    """In a process of its own; the benchmark of the input pipeline does it over 10,000 clips of a store."""
    code = """
import itertools, resource
import numpy as np
from vjax.data import pipeline
from vjax.data.transforms import TrainView
from vjax.data.video import Video
from vjax.ops.sampling import ClipTiming

def read(indices):
    return np.zeros((len(indices), 128, 160, 3), np.uint8)

videos = [Video(str(i), 0, 300, 25.0, read) for i in range(100)]
view = TrainView(ClipTiming(16, stride=4), (112, 112))
batches = pipeline.train_batches(
    videos, view, pipeline.Shard(16), order=pipeline.Order(0), start_step=0, num_workers=0
)
def most_mb(num_batches):
    for _ in itertools.islice(batches, num_batches):
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
early = most_mb(30)
print(most_mb(120) - early)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 40  # a batch has 10 MB; 120 of them would be 1,200
