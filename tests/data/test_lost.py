"""Videos that change or vanish after the index: replaced in training, wrong in evaluation, named in both."""

import csv
import dataclasses
import io
import itertools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import CONFIG, in_this_process
from saved_states import saved_state
from video_files import write_folder

import vjax
from vjax import mesh as meshes
from vjax.data import pipeline
from vjax.data.decode import VideoError
from vjax.data.lost import TRIES, LostVideos, describe_changes
from vjax.data.transforms import TestView, TrainView
from vjax.data.video import BadVideo, Source, Video
from vjax.errors import InputError
from vjax.evaluation.evaluate import evaluate
from vjax.evaluation.infer import ClipProbs
from vjax.evaluation.predict import predict_each
from vjax.ops.sampling import ClipTiming
from vjax.training.loop import Interrupted

TIMING = ClipTiming(2, stride=2)
TRAIN_VIEW = TrainView(TIMING, (4, 4))
TEST_VIEW = TestView(TIMING, (4, 4), num_clips=2)


@dataclasses.dataclass(frozen=True)
class Reader:
    """Frames that say which video they are of, unless it is lost; can be sent to a worker process."""

    number: int
    lost: bool

    def __call__(self, indices):
        if self.lost:
            raise VideoError(f"video {self.number} über alles: no such file")
        return np.random.default_rng(self.number).integers(0, 256, (12, 8, 8, 3), np.uint8)[indices]


def make_videos(count, *, lost=()):
    return [Video(str(i), i, 12, 10.0, Reader(i, i in lost)) for i in range(count)]


def train_batches(videos, *, start_step=0, num_workers=0, batches=6):
    told = []
    found = pipeline.train_batches(
        videos,
        TRAIN_VIEW,
        pipeline.Shard(5),
        order=pipeline.Order(0),
        start_step=start_step,
        num_workers=num_workers,
        report=lambda position, reason: told.append((position, reason)),
    )
    return list(itertools.islice(found, batches)), told


def test_the_next_video_takes_the_place_of_a_lost_one_and_no_other_clip_changes():
    whole, nothing = train_batches(make_videos(10))
    found, told = train_batches(make_videos(10, lost=(3, 4, 9)))
    assert nothing == []
    substitutes = {3: 5, 4: 5, 9: 0}
    for before, after in zip(whole, found, strict=True):
        assert before.keys() == after.keys()
        for row, position in enumerate(before["position"]):
            assert after["position"][row] == after["label"][row] == substitutes.get(position, position)
            if position not in substitutes:
                np.testing.assert_array_equal(before["clips"][row], after["clips"][row])
    assert set(told) == {(i, f"video {i} über alles: no such file") for i in (3, 4, 9)}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_substitutes_are_the_same_from_any_step_and_in_worker_processes(num_workers):
    videos = make_videos(10, lost=(3, 4, 9))
    whole, _ = train_batches(videos)
    found, told = train_batches(videos, start_step=2, num_workers=num_workers, batches=4)
    for before, after in zip(whole[2:], found, strict=True):
        for key in before:
            np.testing.assert_array_equal(before[key], after[key])
    assert {position for position, _ in told} <= {3, 4, 9}
    assert told


def test_a_clip_without_a_substitute_among_eight_ends_the_run():
    with pytest.raises(VideoError, match=r"8 videos in a row can no longer be read; the last: video \d+ über alles"):
        train_batches(make_videos(10, lost=range(TRIES)))


def test_without_a_report_a_lost_video_is_an_error():
    with pytest.raises(VideoError, match="video 3 über alles: no such file"):
        next(
            pipeline.train_batches(
                make_videos(5, lost=(3,)),
                TRAIN_VIEW,
                pipeline.Shard(5),
                order=pipeline.Order(0),
                start_step=0,
                num_workers=0,
            )
        )


def all_right(num_classes):
    """An answer that is right for every clip of one class: the first."""

    def infer(clips):
        probs = np.full((len(clips), num_classes), 0.01)
        probs[:, 0] = 1 - 0.01 * (num_classes - 1)
        return ClipProbs(jnp.asarray(probs), jnp.log(probs))

    return infer


def test_in_evaluation_a_lost_video_counts_as_wrong_and_is_named():
    videos = [dataclasses.replace(video, label=0) for video in make_videos(8, lost=(2, 5))]
    found = evaluate(videos, TEST_VIEW, all_right(6), batch_size=8, num_workers=0, mesh=meshes.make_mesh())
    assert found.metrics["video@1"] == found.metrics["clip@1"] == found.metrics["video@5"] == 6 / 8
    assert found.class_accuracy[0] == 6 / 8
    assert np.isfinite(found.metrics["loss"])
    assert [(position, reason.split(":")[0]) for position, reason in found.lost] == [
        (2, "video 2 über alles"),
        (5, "video 5 über alles"),
    ]


def test_a_prediction_for_a_video_that_vanished_is_an_error():
    with pytest.raises(VideoError, match="video 1 über alles: no such file"):
        list(
            predict_each(
                make_videos(2, lost=(1,)),
                TEST_VIEW,
                all_right(3),
                batch_size=8,
                mesh=meshes.make_mesh(),
                class_names=("a", "b"),
            )
        )


def test_lost_videos_are_told_once_and_too_many_end_the_run():
    source = Source(("a",), make_videos(8), make_videos(2), "given", bad_videos=(BadVideo("bad", "train", "bad: why"),))
    said, saved = [], []
    lost = LostVideos(source, max_bad_share=0.2, write=said.append, save=saved.append)
    lost.train(3, "3: gone")
    lost.train(3, "3: gone")
    assert said == ["a video can no longer be read and is replaced by another one: 3: gone\n"]
    assert [[bad.name for bad in table] for table in saved] == [["bad", "3"]]
    with pytest.raises(InputError, match=r"3 of 11 videos cannot be read, 2 of them since .* max_bad_share=0.2; the"):
        lost.add(BadVideo("9", "test", "9: gone"))
    assert said[1] == "a video can no longer be read and counts as wrong: 9: gone\n"


def test_a_run_that_is_resumed_without_too_many_of_its_videos_ends_at_once():
    lost = tuple(BadVideo(str(i), "train", f"{i}: gone") for i in range(3))
    source = Source(("a",), make_videos(8), make_videos(2), "given", lost_videos=lost)
    with pytest.raises(InputError, match=r"3 of 10 videos cannot be read, 3 of them since .*; the last: 2: gone. Put"):
        LostVideos(source, max_bad_share=0.25, write=lambda line: None, save=lambda table: None)


def test_new_and_lost_videos_of_a_run_are_described_in_a_line_each():
    source = Source(
        ("a",),
        make_videos(8),
        make_videos(2),
        "given",
        lost_videos=(BadVideo("x", "train", "x: gone"), BadVideo("y", "test", "y: gone")),
        new_videos=tuple(f"n{number}" for number in range(12)),
    )
    new, lost = describe_changes(source)
    assert new.startswith("12 video(s) are new since the run began and are left out: n0; n1; ")
    assert new.endswith("; n9; and 2 more")
    assert lost == "2 video(s) of the run are gone or can no longer be read: x (train); y (test)"
    assert describe_changes(Source(("a",), make_videos(8), make_videos(2), "given")) == []


@pytest.fixture
def cut_off(tmp_path_factory):
    """A run stopped after two steps; then two training videos were lost, one of them overwritten, and a test video."""
    folder = tmp_path_factory.mktemp("lost")
    root = write_folder(folder / "videos")
    words = [f"--config.source.root={root}", "--config.length=8", "--config.evaluate_every=8"]
    config = vjax.load_config(f"{CONFIG}:tiny", [*words, "--config.max_bad_share=0.6"])
    steps = iter([False, True])
    with pytest.raises(Interrupted):
        vjax.train(config, folder / "run", console=io.StringIO(), should_stop=lambda: next(steps))
    with (folder / "run" / "split.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    train, test = ([row["name"] for row in rows if row["split"] == split] for split in ("train", "test"))
    (root / train[0]).unlink()
    (root / train[-1]).write_bytes(b"not a video")
    (root / test[0]).unlink()
    return config, folder / "run", {train[0], train[-1], test[0]}, test[0]


def resume(config, workdir, *, after=None):
    said = io.StringIO()
    steps = itertools.count(1)
    stop = (lambda: next(steps) == after) if after else (lambda: False)
    return vjax.train(config, workdir, console=said, should_stop=stop), said.getvalue()


def test_a_run_goes_on_without_videos_that_are_lost_and_resumes_exactly(cut_off, tmp_path):
    config, workdir, lost, lost_in_test = cut_off
    shutil.copytree(workdir, tmp_path / "once")
    shutil.copytree(workdir, tmp_path / "twice")
    result, said = resume(config, tmp_path / "once")
    with pytest.raises(Interrupted):
        resume(config, tmp_path / "twice", after=2)
    again, _ = resume(dataclasses.replace(config, num_workers=1), tmp_path / "twice")

    assert result == again
    states = [saved_state(tmp_path / name) for name in ("once", "twice")]
    jax.tree.map(np.testing.assert_array_equal, *states)
    for name in lost:
        assert said.count(f"{name}: ") == 1
    assert result["lost_videos"] == 1
    assert "1 lost since training began and counted as wrong" in result["protocol"]
    with (tmp_path / "once" / "bad_videos.csv").open(newline="") as stream:
        assert {row["name"] for row in csv.DictReader(stream)} == lost

    done = in_this_process("vjax", "evaluate", tmp_path / "once", "--json", tmp_path / "evaluation.json")
    assert f"{lost_in_test}: " in done.stderr
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found == {key: value for key, value in result.items() if key != "versions"} | {"videos": found["videos"]}
