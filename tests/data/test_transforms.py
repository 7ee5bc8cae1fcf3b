import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vjax.data.transforms import Augment, Mix, TestView, TrainView
from vjax.data.video import Video
from vjax.errors import InputError
from vjax.ops.frames import crop_resize, largest_box
from vjax.ops.sampling import ClipTiming, spaced_clips

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 20, 32, 3), np.uint8)
TIMING = ClipTiming(4, stride=3)


def make_video(num_frames=30):
    return Video("v", 0, num_frames, 10.0, lambda indices: PIXELS[indices])


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999))
def test_the_same_random_numbers_give_the_same_clip(seed):
    view = TrainView(TIMING, (8, 10))
    clips = [view(make_video(), np.random.default_rng(seed)) for _ in range(2)]
    np.testing.assert_array_equal(*clips)
    assert clips[0].shape == (4, 8, 10, 3)


def test_clips_differ_from_draw_to_draw():
    view, rng = TrainView(TIMING, (8, 10)), np.random.default_rng(0)
    clips = {view(make_video(), rng).tobytes() for _ in range(8)}
    assert len(clips) == 8


def test_the_speed_of_a_clip_is_between_its_factors():
    seen = []

    def read(indices):
        seen.append(indices)
        return PIXELS[indices % 30]

    view = TrainView(ClipTiming(6, stride=4), (8, 10), Augment(rate=(0.5, 2.0)))
    for seed in range(60):
        view(Video("v", 0, 1000, 10.0, read), np.random.default_rng(seed))
    steps = np.array([(indices[-1] - indices[0]) / 5 for indices in seen])
    assert 1.8 <= steps.min() < 2.6
    assert 6.2 < steps.max() <= 8.2
    assert (steps < 4).mean() == pytest.approx(0.5, abs=0.2)  # log-uniform: half of the clips are slower


def test_without_augmentation_only_the_start_is_random():
    view = TrainView(TIMING, (20, 32), Augment(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=False))
    clip = view(make_video(), np.random.default_rng(0))
    starts = [start for start in range(30) if (PIXELS[start] == clip[0]).all()]
    assert len(starts) == 1
    np.testing.assert_array_equal(clip, PIXELS[starts[0] + 3 * np.arange(4)])


def test_half_of_the_clips_are_mirrored():
    view = TrainView(ClipTiming(1, stride=1), (20, 32), Augment(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=True))
    rng, video = np.random.default_rng(0), make_video(1)
    mirrored = [(view(video, rng)[0] == PIXELS[0, :, ::-1]).all() for _ in range(200)]
    assert 70 < sum(mirrored) < 130


@settings(deadline=None, max_examples=15)
@given(num_clips=st.integers(1, 5), num_crops=st.sampled_from([1, 3]), num_frames=st.integers(1, 30))
def test_a_test_view_shows_every_crop_of_every_clip_in_order(num_clips, num_crops, num_frames):
    view = TestView(TIMING, (8, 8), num_clips=num_clips, num_crops=num_crops)
    found = view(make_video(num_frames))
    assert found.shape == view.shape == (num_clips * num_crops, 4, 8, 8, 3)
    clips = spaced_clips(num_video_frames=num_frames, num_clips=num_clips, num_frames=4, step=3.0)
    places = [0.5] if num_crops == 1 else [0.0, 0.5, 1.0]
    by_hand = [
        crop_resize(PIXELS[clip], box=largest_box(height=20, width=32, aspect=1.0, position=place), size=(8, 8))
        for clip in clips
        for place in places
    ]
    np.testing.assert_array_equal(found, by_hand)


def test_a_test_crop_with_a_share_is_the_middle_of_the_frame():
    """Torchvision's 112 of 128 rows are 0.875 of the height; of 20 rows and 32 columns they are 18 and 18."""
    view = TestView(TIMING, (10, 10), num_clips=1, crop_share=0.9)
    video = make_video(12)
    (clip,) = view(video)
    frames = PIXELS[view.indices(video)[0]]
    np.testing.assert_array_equal(clip, crop_resize(frames, box=(7, 1, 25, 19), size=(10, 10)))


def test_a_frame_that_several_clips_show_is_read_once():
    reads = []

    def read(indices):
        reads.append(list(indices))
        return PIXELS[indices]

    TestView(TIMING, (8, 8), num_clips=5)(Video("v", 0, 12, 10.0, read))
    (indices,) = reads
    assert len(indices) == len(set(indices))


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (TestView(ClipTiming(16, fps=5.0), (112, 112)), "5 clips x 1 crop of 16 frames at 5 fps, 112 x 112"),
        (TestView(TIMING, (48, 60), num_clips=1, num_crops=3), "1 clip x 3 crops of 4 frames at stride 3, 48 x 60"),
        (
            TestView(TIMING, (48, 60), num_clips=2, crop_share=0.875),
            "2 clips x 1 crop of 4 frames at stride 3, 48 x 60 from 0.875 of the frame",
        ),
    ],
)
def test_a_view_describes_itself(view, words):
    assert view.describe() == words


GRAYS = np.array([0, 40, 120, 250], np.uint8)


def make_gray_batch():
    """Four clips, each of one gray that tells its label."""
    clips = np.broadcast_to(GRAYS.reshape(-1, 1, 1, 1, 1), (4, 2, 8, 8, 3)).copy()
    return {"clips": clips, "label": np.arange(4, dtype=np.int32)}


@pytest.mark.parametrize(
    ("mix", "fewest", "most"), [(Mix(1.0, 0.0), 0, 10), (Mix(0.0, 1.0), 100, 100), (Mix(1.0, 1.0), 30, 70)]
)
def test_a_batch_takes_mixup_or_cutmix_one_time_in_two_where_both_are_on(mix, fewest, most):
    rng, batch = np.random.default_rng(0), make_gray_batch()
    num_cut = sum(np.isin(mix(batch, rng)["clips"], GRAYS).all() for _ in range(100))
    assert fewest <= num_cut <= most


@pytest.mark.parametrize("mix", [Mix(mixup=0.8), Mix(cutmix=1.0)])
def test_a_mixed_batch_names_the_label_of_the_partner_and_the_share_of_its_own(mix):
    batch = make_gray_batch()
    mixed = mix(batch, np.random.default_rng(1))
    np.testing.assert_array_equal(mixed["label"], [0, 1, 2, 3])
    np.testing.assert_array_equal(mixed["other_label"], [3, 0, 1, 2])
    assert (mixed["other_label"].dtype, mixed["share"].dtype) == (np.int32, np.float32)
    own, partner = (GRAYS[mixed[name]].astype(float) for name in ("label", "other_label"))
    assert 0.05 < mixed["share"].min() == mixed["share"].max() < 0.95
    seen = mixed["clips"].mean(axis=(1, 2, 3, 4))
    np.testing.assert_allclose(seen, mixed["share"] * own + (1 - mixed["share"]) * partner, atol=0.51)


def test_without_an_alpha_there_is_nothing_to_mix():
    assert [bool(Mix(*alphas)) for alphas in [(0.0, 0.0), (0.1, 0.0), (0.0, 0.1)]] == [False, True, True]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Augment(scale=(0.0, 1.0)), r"augment.scale must be \(lowest, highest\), .*, got \(0"),
        (lambda: Augment(scale=(0.9, 0.5)), r"augment.scale must be \(lowest, highest\), .*, got \(0"),
        (
            lambda: Augment(rate=(0.0, 1.0)),
            r"augment.rate must be \(lowest, highest\), .*, got \(0.0, 1.0\)",
        ),
        (
            lambda: Augment(ratio=(1.1, 0.9)),
            r"augment.ratio must be \(lowest, highest\), .*, got \(1.1, 0.9\)",
        ),
        (lambda: Augment(rand_ops=-1), "augment.rand_ops must be 0 or more, got -1"),
        (lambda: Augment(rand_magnitude=11), r"augment.rand_magnitude must lie in \[0, 10\], got 11"),
        (lambda: Augment(jitter=1.5), r"augment.jitter must lie in \[0, 1\], got 1.5"),
        (lambda: Augment(erase=-0.1), r"augment.erase must lie in \[0, 1\], got -0.1"),
        (lambda: Mix(mixup=-0.5), r"mix.mixup is the alpha of Beta\(alpha, alpha\), .* got -0.5"),
        (lambda: Mix(cutmix=float("inf")), "mix.cutmix is the alpha .* got inf"),
        (lambda: Mix(mixup=float("nan")), "mix.mixup is the alpha .* got nan"),
        (lambda: TestView(TIMING, (8, 8), num_clips=0), "at least 1 clip of a video, got 0"),
        (lambda: TestView(TIMING, (8, 8), num_crops=2), "1 or 3 crops of a clip, got 2"),
        (lambda: TestView(TIMING, (8, 8), crop_share=0.0), r"must lie in \(0, 1\], got 0.0"),
        (lambda: TestView(TIMING, (8, 8), crop_share=1.5), r"must lie in \(0, 1\], got 1.5"),
    ],
)
def test_a_view_that_does_not_work_is_explained(make, message):
    with pytest.raises(InputError, match=message):
        make()
