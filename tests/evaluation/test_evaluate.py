import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vjax import mesh as meshes
from vjax.data.transforms import TestView
from vjax.data.video import Video
from vjax.evaluation.evaluate import EvaluationStopped, evaluate
from vjax.evaluation.infer import ClipProbs
from vjax.evaluation.predict import predict_each
from vjax.evaluation.probes import shuffle_frames
from vjax.ops.sampling import ClipTiming

VIEW = TestView(ClipTiming(4, stride=1), (8, 8), num_clips=3)
NUM_CLASSES = 4
NAMES = ("a", "b", "c", "d")


def make_videos(count):
    """Videos of one gray level each; every third one has a label that its gray level does not tell."""

    def read_level(level):
        return lambda indices: np.full((len(indices), 8, 8, 3), level, np.uint8)

    levels = [60 * (i % NUM_CLASSES) for i in range(count)]
    labels = [(i + (i % 3 == 2)) % NUM_CLASSES for i in range(count)]
    return [
        Video(f"video {i}", label, 10, 5.0, read_level(level))
        for i, (level, label) in enumerate(zip(levels, labels, strict=True))
    ]


@jax.jit
def by_level(clips):
    """Answers the class whose gray level is nearest."""
    distance = jnp.abs(clips.astype(jnp.float32).mean((1, 2, 3, 4))[:, None] - 60 * jnp.arange(NUM_CLASSES))
    log_probs = jax.nn.log_softmax(-distance)
    return ClipProbs(jnp.exp(log_probs), log_probs)


@jax.jit
def by_last_frame(clips):
    """Answers class 1 where the last frame is the brightest, else class 0."""
    levels = clips.astype(jnp.float32).mean((2, 3, 4))
    probs = jax.nn.one_hot((levels.argmax(1) == levels.shape[1] - 1).astype(int), NUM_CLASSES)
    return ClipProbs(probs, jnp.log(probs + 1e-6))


def run(videos, infer_clips=by_level, *, batch_size=8, devices=None, **kwargs):
    mesh = meshes.make_mesh(devices)
    return evaluate(videos, VIEW, infer_clips, batch_size=batch_size, num_workers=0, mesh=mesh, **kwargs)


def test_the_answer_fits_what_is_known_of_the_videos():
    found = run(make_videos(9))
    assert found.metrics["video@1"] == pytest.approx(6 / 9)
    assert found.metrics["clip@1"] == pytest.approx(6 / 9)
    assert "video@5" not in found.metrics, "with three classes it would always be 1"
    np.testing.assert_array_equal(found.label, [video.label for video in make_videos(9)])


@pytest.mark.parametrize(("batch_size", "num_devices"), [(1, 1), (3, 1), (4, 2), (8, 8), (16, 8), (3, 4)])
def test_no_number_changes_with_the_batch_size_or_the_number_of_devices(batch_size, num_devices):
    videos = make_videos(11)
    expected = run(videos, batch_size=11, devices=jax.devices()[:1])
    found = run(videos, batch_size=batch_size, devices=jax.devices()[:num_devices])
    assert found.metrics == pytest.approx(expected.metrics, rel=1e-5)
    np.testing.assert_allclose(found.probs, expected.probs, rtol=1e-5)


def test_an_evaluation_that_is_asked_to_stop_has_no_result():
    answers = iter([False, True])
    with pytest.raises(EvaluationStopped):
        run(make_videos(11), batch_size=3, devices=jax.devices()[:1], should_stop=lambda: next(answers))
    assert not list(answers)


def test_an_evaluation_that_is_done_is_not_asked_to_stop():
    assert run(make_videos(8), should_stop=lambda: True).metrics == run(make_videos(8)).metrics


def test_shuffled_frames_change_what_looks_at_their_order():
    def brightening(indices):
        return np.ones((len(indices), 8, 8, 3), np.uint8) * (20 * indices[:, None, None, None]).astype(np.uint8)

    videos = [Video(f"{i}", 1, 10, 5.0, brightening) for i in range(16)]
    assert run(videos, by_last_frame).metrics["video@1"] == 1.0
    shuffled = run(videos, by_last_frame, probe=shuffle_frames)
    assert shuffled.metrics["video@1"] < 0.6
    again = run(videos, by_last_frame, probe=shuffle_frames, batch_size=16)
    assert shuffled.metrics == pytest.approx(again.metrics, rel=1e-5)


def test_the_confusion_matrix_and_the_accuracy_by_class_agree():
    found = run(make_videos(12))
    assert found.confusion.sum() == 12
    by_hand = [row[i] / row.sum() for i, row in enumerate(found.confusion)]
    assert found.class_accuracy == pytest.approx(by_hand)


def test_a_class_without_videos_has_no_accuracy():
    few = run(make_videos(2))
    assert few.class_accuracy[2:] == [None, None]
    assert few.mean_class_accuracy == np.mean(few.class_accuracy[:2])


def test_a_prediction_equals_the_row_of_the_evaluation():
    videos = make_videos(5)
    rows = run(videos).probs
    predictions = list(predict_each(videos, VIEW, by_level, batch_size=8, mesh=meshes.make_mesh(), class_names=NAMES))
    assert [p.name for p in predictions] == [video.name for video in videos]
    np.testing.assert_array_equal([p.probs for p in predictions], rows)


def test_a_prediction_tells_when_each_clip_is():
    mesh = meshes.make_mesh()
    (prediction,) = predict_each(make_videos(1), VIEW, by_level, batch_size=8, mesh=mesh, class_names=NAMES)
    assert [(clip.start_s, clip.end_s) for clip in prediction.clips] == [(0.0, 0.8), (0.6, 1.4), (1.2, 2.0)]
    np.testing.assert_allclose(np.mean([clip.probs for clip in prediction.clips], axis=0), prediction.probs, rtol=1e-6)
    names = [name for name, _ in prediction.ranked()]
    assert names[0] == "a"
    assert sorted(names) == ["a", "b", "c", "d"]
