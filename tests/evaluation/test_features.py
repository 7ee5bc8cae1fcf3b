import jax
import jax.numpy as jnp
import numpy as np
import pytest
from outside_network import Mine

from vjax import mesh as meshes
from vjax import models
from vjax.data.decode import VideoError
from vjax.data.transforms import TestView
from vjax.data.video import Video
from vjax.errors import InputError
from vjax.evaluation.features import compile_features, extract_features, head_input
from vjax.ops.clip_input import ClipInput
from vjax.ops.sampling import ClipTiming

CLIP_INPUT = ClipInput()
VIEW = TestView(ClipTiming(num_frames=2, stride=1), (4, 4), num_clips=3, num_crops=1)


def videos(count, num_frames=6):
    """Videos whose frames show their own number: frame f of video i is 10 i + f everywhere."""

    def read(number, indices):
        return np.broadcast_to(np.uint8(10 * number + indices)[:, None, None, None], (len(indices), 4, 4, 3))

    return [
        Video(f"v{number}", 0, num_frames, 10.0, lambda indices, number=number: read(number, indices))
        for number in range(count)
    ]


def first_and_last(clips):
    """Features `(b 2 3)`: from the first frame and the last frame of a clip."""
    frames = jnp.asarray(clips)[:, :, 0, 0].astype(jnp.float32)
    return jnp.stack([frames[:, 0], frames[:, -1]], axis=1)


@pytest.mark.parametrize("name", ["single_frame", "late_concat", "slow_fusion"])
def test_the_classifier_of_a_network_makes_its_logits_of_the_features(name):
    network = models.create(name, 3, backbone={"name": "small", "widths": (4,)}, dropout=0.5)
    clips = np.random.default_rng(0).integers(0, 256, (2, 2, 8, 8, 3), np.uint8)
    variables = jax.jit(network.init, static_argnames="train")(jax.random.key(0), CLIP_INPUT(clips), train=False)
    features = compile_features(network, CLIP_INPUT, meshes.make_mesh(jax.devices()[:1]))(variables)(clips)
    layer = variables["params"]["head"]["logits"]
    logits = jax.jit(network.apply, static_argnames="train")(variables, CLIP_INPUT(clips), train=False)
    np.testing.assert_allclose(features @ layer["kernel"] + layer["bias"], logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("r2plus1d_18", (4, 16, 16, 3), (2, 1, 512)),
        ("c3d", (16, 112, 112, 3), (2, 1, 4096)),
        ("karpathy_single", (3, 170, 170, 3), (2, 3, 4096)),
    ],
)
def test_the_features_of_a_published_network_have_the_width_of_its_last_layer(name, shape, expected):
    network = models.create(name, 3, dtype="bfloat16")

    def features(clips):
        variables = network.init(jax.random.key(0), clips, train=False)
        return head_input(network, variables, clips, clip_input=CLIP_INPUT)

    found = jax.eval_shape(features, jax.ShapeDtypeStruct((2, *shape), jnp.uint8))
    assert (found.shape, found.dtype) == (expected, jnp.float32)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_every_view_of_every_video_keeps_its_place_in_batches_of_any_size(batch_size):
    mesh = meshes.make_mesh(jax.devices()[:1])
    found = extract_features(videos(3), VIEW, first_and_last, batch_size=batch_size, mesh=mesh)
    assert found.names == ("v0", "v1", "v2")
    # Clips of two frames start at frames 0, 2 and 4.
    first = 10 * np.arange(3)[:, None] + np.array([0, 2, 4])
    expected = np.stack([first, first + 1], axis=-1)
    np.testing.assert_array_equal(found.clips, np.repeat(expected[..., None], 3, axis=-1))
    np.testing.assert_allclose(found.videos, np.repeat(10 * np.arange(3)[:, None] + 2.5, 3, axis=-1))


def test_a_video_that_has_become_unreadable_is_named():
    def gone(_):
        raise VideoError("v1.mp4: is gone")

    broken = [*videos(1), Video("v1", 0, 6, 10.0, gone)]
    with pytest.raises(VideoError, match=r"v1.mp4: is gone"):
        extract_features(broken, VIEW, first_and_last, batch_size=2, mesh=meshes.make_mesh(jax.devices()[:1]))


def test_without_videos_there_are_no_features():
    with pytest.raises(InputError, match="there are no videos to compute the features of; give one or more"):
        extract_features([], VIEW, first_and_last, batch_size=2, mesh=meshes.make_mesh())


def test_a_network_whose_classifier_has_another_name_is_refused():
    message = r"features of a network are the input, .* of its layer head/logits .* this Mine gives that layer nothing"
    clips = np.zeros((1, 2, 4, 4, 3), np.uint8)
    variables = Mine(2).init(jax.random.key(0), CLIP_INPUT(clips), train=False)
    with pytest.raises(InputError, match=message):
        head_input(Mine(2), variables, clips, clip_input=CLIP_INPUT)
