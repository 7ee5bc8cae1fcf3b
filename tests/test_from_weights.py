"""Features from files of weights, of a small network with a card."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from processes import error_line, in_this_process
from random_variables import random_variables
from video_files import write_folder

from vjax import NETWORKS, InputError, create
from vjax.config import Clip, Config
from vjax.data.video import open_video
from vjax.evaluation.features import head_input
from vjax.from_weights import features_from_weights
from vjax.models.backbones import BACKBONES
from vjax.models.card import Card, Preprocessing, Weights, described
from vjax.ops.clip_input import ClipInput, Normalization
from vjax.training.convert import to_torch
from vjax.weights.write import write_safetensors

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.5, 0.5)
PREPROCESSING = Preprocessing(num_frames=2, fps=5.0, size=(8, 8), mean=MEAN, std=STD)
PUBLISHED = Weights("made:tiny", "tiny.safetensors", 3, "made videos", "this test", PREPROCESSING)


def names_of(variables):
    return {name: name.replace("/", ".") for name in flatten_dict(variables, sep="/")}


def make_tiny(num_classes: int):
    """A network with published weights."""
    return create("late_pool", num_classes, backbone={"name": "small", "widths": (4,)})


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The published file, with random numbers; the network is in the table."""
    card = Card("tiny", "this test", (2, 8, 8), 3, 1, 1, torch_names=names_of, weights=(PUBLISHED,))
    monkeypatch.setitem(NETWORKS, "tiny", described(card)(make_tiny))
    flat = flatten_dict(random_variables(make_tiny(3), (2, 8, 8, 3)), sep="/")
    tensors = {
        name.replace("/", "."): np.moveaxis(leaf, (-1, -2), (0, 1)) if name.endswith("kernel") else leaf
        for name, leaf in flat.items()
    }
    write_safetensors(tmp_path / "tiny.safetensors", tensors)
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def videos(tmp_path):
    root = write_folder(tmp_path / "videos")
    return [open_video(path) for path in sorted(root.rglob("*.mp4"))]


def test_published_weights_give_features_of_their_own_preprocessing(file, videos):
    found = features_from_weights(f"made:tiny={file}", videos)
    assert found.names == tuple(video.name for video in videos)
    assert found.clips.shape == (len(videos), 5, 1, 4)
    # By hand: the middle of the frames at 5 of the video's 10 frames a second.
    variables = random_variables(make_tiny(3), (2, 8, 8, 3))
    clips = jnp.asarray(Config(clip=Clip(num_frames=2, fps=5.0, size=8)).test_view(videos[0]))
    expected = head_input(make_tiny(3), variables, clips, clip_input=ClipInput(normalization=Normalization(MEAN, STD)))
    np.testing.assert_allclose(found.clips[0], expected, rtol=1e-4, atol=1e-5)


def test_the_command_takes_weights_by_name_and_by_file(file, videos, tmp_path):
    done = in_this_process("vjax", "features", f"made:tiny={file}", tmp_path / "videos", "--out", tmp_path / "a.npz")
    assert done.stdout == f"{tmp_path / 'a.npz'}: 4 features of 8 video(s), each the mean over 5 view(s)\n"
    other = file.rename(file.with_name("other.safetensors"))
    words = ["vjax", "features", other, videos[0].name, "--out", tmp_path / "b.npz"]
    assert "other.safetensors: say which network these weights are for, as --network NAME; `vjax" in error_line(
        in_this_process(*words)
    )
    assert "does not know 'r4d'" in error_line(in_this_process(*words, "--network", "r4d"))
    assert "PyTorch gives to the tensors of slow_fusion are not known" in error_line(
        in_this_process(*words, "--network", "slow_fusion")
    )
    assert "--checkpoint is for runs" in error_line(in_this_process(*words, "--checkpoint", "best"))
    assert "missing.pth: no such file or folder" in error_line(
        in_this_process("vjax", "features", tmp_path / "missing.pth", *words[3:])
    )
    assert "--network is for files of weights" in error_line(
        in_this_process("vjax", "features", tmp_path, *words[3:], "--network", "tiny")
    )


def test_the_features_of_a_backbone_are_those_of_its_single_frames(videos, tmp_path, monkeypatch):
    """`vjax weights` names a backbone where a file holds an image network, so the command takes that name."""

    def backbone(*, temporal: bool, dtype: str = "float32"):
        return BACKBONES["small"](widths=(4,), temporal=temporal, dtype=dtype)

    card = Card("tiny", "this test", (2, 8, 8), 3, 1, 1, torch_names=names_of)
    monkeypatch.setitem(BACKBONES, "tiny_backbone", described(card)(backbone))
    network = create("single_frame", 1, backbone={"name": "tiny_backbone"})
    variables = random_variables(network, (16, 112, 112, 3))
    inner = {collection: tree["backbone"] for collection, tree in variables.items()}
    write_safetensors(tmp_path / "images.safetensors", to_torch(inner, names_of(inner)))
    found = features_from_weights(str(tmp_path / "images.safetensors"), videos[:1], network="tiny_backbone")
    clips = jnp.asarray(Config().test_view(videos[0]))
    expected = head_input(network, variables, clips, clip_input=ClipInput())
    np.testing.assert_allclose(found.clips[0], expected, rtol=1e-4, atol=1e-5)


def names_of_backbone(variables):
    return {name: theirs for name, theirs in names_of(variables).items() if "/backbone/" in name}


def test_a_file_that_lacks_a_part_of_the_network_is_refused(file, videos, monkeypatch):
    """The features would be those of a random layer."""

    def deeper(num_classes: int):
        return create("late_concat", num_classes, backbone={"name": "small", "widths": (4,)})

    card = Card("tiny", "this test", (2, 8, 8), 3, 1, 1, torch_names=names_of_backbone)
    monkeypatch.setitem(NETWORKS, "deeper", described(card)(deeper))
    with pytest.raises(InputError, match=r"no tensors for these variables of deeper: .*params/hidden/bias"):
        features_from_weights(str(file), videos, network="deeper")
