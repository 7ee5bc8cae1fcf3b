"""Trained networks with random numbers, for tests of what is done with a network after training."""

import jax
import jax.numpy as jnp
from random_variables import random_variables

from vjax import Trained
from vjax import mesh as meshes
from vjax.config import Choice, Clip, Config, check_config
from vjax.training.step import TrainState


def random_run(name, *, num_classes=3, workdir="runs/random", size=(8, 32, 32), **options):
    """A run of a network of the table, as `vjax.load` returns it; its parameters are random numbers."""
    config = check_config(
        Config(network=Choice(name, **options), clip=Clip(num_frames=size[0], size=size[1:], stride=1))
    )
    built = config.create_network(num_classes)
    variables = random_variables(built, config.test_view.shape[1:])
    state = TrainState(jnp.zeros((), jnp.int32), variables["params"], variables.get("batch_stats", {}), None, {})
    class_names = tuple(f"class{index}" for index in range(num_classes))
    mesh = meshes.make_mesh(jax.devices()[:1])
    return Trained(workdir, config, class_names, built, config.test_view, state, mesh)
