"""Features from a file of weights, without a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vjax import mesh as meshes
from vjax.config import Config, InitFrom, check_config
from vjax.data.video import Video
from vjax.errors import InputError
from vjax.evaluation.features import Features, compile_features, extract_features
from vjax.models.backbones import BACKBONES
from vjax.models.registry import cards, network_of, torch_names_of
from vjax.preprocessing import bind_preprocessing
from vjax.spec import Choice
from vjax.text import some
from vjax.training.convert import convert
from vjax.training.init_from import in_classifier
from vjax.training.pretrained import find_pretrained
from vjax.weights.read import read_tensors


def features_from_weights(weights: str, videos: Sequence[Video], *, network: str = "") -> Features:
    """Returns the features of videos from a network with the weights of a file.

    Published weights bring their clips, crop and normalization. The preprocessing of other weights is not known, so the
    values of the default config are used.

    Args:
      weights: file of weights, or name of published weights, as `config.init.weights` takes it.
      videos: videos, at least one.
      network: name of the network in `NETWORKS`, or of a backbone in `BACKBONES` for single frame on it; empty for the
        network of published weights.

    Raises:
      InputError: the file cannot be read, the network is not known, or it does not fit the file.
      VideoError: a video can no longer be read.
    """
    pretrained = find_pretrained(weights)
    path = pretrained.path()  # first, because a path that was mistyped needs no advice about networks
    if network in BACKBONES:
        choice = Choice("single_frame", backbone=Choice(network))
    elif network:
        choice = Choice(network)
    elif pretrained.published is not None:
        choice = network_of(pretrained.published)
    else:
        raise InputError(
            f"{weights}: say which network these weights are for, as --network NAME; `vjax weights FILE` names the "
            "networks, and the backbones in 2D, that fit"
        )
    config, _ = bind_preprocessing(check_config(Config(network=choice, init=InitFrom(weights=weights))))
    # The classifier does not matter, so it may have any number of classes.
    built, view, mesh = config.create_network(num_classes=1), config.test_view, meshes.make_mesh()
    variables = _variables(built, config.network, view.shape[1:], path)
    clip_features = compile_features(built, config.clip_input, mesh)(variables)
    return extract_features(videos, view, clip_features, batch_size=config.test.batch_size, mesh=mesh)


def _variables(network: nn.Module, choice: Choice, clip_shape: tuple[int, ...], path: Path) -> Any:
    """Returns the variables of a network with the numbers of a file; those of the classifier are 0."""
    torch_names = torch_names_of(choice)
    if torch_names is None:
        known = [name for name, card in cards().items() if card.torch_names is not None]
        raise InputError(
            f"the names that PyTorch gives to the tensors of {choice.name} are not known; they are for these networks "
            f"and backbones: {', '.join(known)}"
        )
    clips = jax.ShapeDtypeStruct((1, *clip_shape), jnp.float32)
    shapes: Any = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), clips)
    loaded = convert(shapes, read_tensors(path), torch_names(shapes), where=str(path))
    if lacking := [name for name in loaded.reinitialised if not in_classifier(name)]:
        raise InputError(f"{path}: has no tensors for these variables of {choice.name}: {some(lacking)}")

    def fill(leaf: Any) -> Any:
        return jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf

    return jax.tree.map(fill, loaded.variables)
