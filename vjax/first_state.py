"""The state of a run before its first step: random, or with the network of another run or of a file of weights."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import flax.linen as nn
import jax
import jax.numpy as jnp

from vjax import workdirs
from vjax.errors import InputError
from vjax.experiment import Experiment
from vjax.models.registry import cards, torch_names_of
from vjax.preprocessing import list_differences
from vjax.text import some, terminal_width, wrap
from vjax.trained import load
from vjax.training.convert import convert
from vjax.training.init_from import Loaded, load_pretrained
from vjax.training.pretrained import Pretrained, find_pretrained
from vjax.training.step import TrainState
from vjax.weights.read import read_tensors


def make_first_state(experiment: Experiment, make_state: Callable[[], TrainState], console: TextIO) -> TrainState:
    """Returns the state of a new run, distributed over the devices as the experiment says.

    Args:
      experiment: experiment of the run; its `config.init` says where the network comes from.
      make_state: function that creates the random state.
      console: stream for a message that says what was loaded.

    Raises:
      InputError: the other run or the file cannot be read, or its network does not fit.
    """
    layout, init = experiment.layout, experiment.config.init
    state = jax.jit(make_state, out_shardings=layout.shardings(jax.eval_shape(make_state)))()
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    if not init.weights:
        return state
    pretrained = find_pretrained(init.weights)
    load_from = _from_run if pretrained.is_run else _from_file
    loaded, origin, preprocessing = load_from(experiment, variables, pretrained)
    placed = jax.jit(lambda tree: tree, out_shardings=layout.shardings(variables))(loaded.variables)
    if jax.process_index() == 0:
        said = f"starts from {origin}; {_words(loaded)}{preprocessing and '; '}{preprocessing}"
        console.write(wrap(said, width=terminal_width(), hang=2) + "\n")
    # Copy the arrays, because a step donates the buffers of both trees.
    ema = jax.tree.map(jnp.copy, placed["params"]) if state.ema else {}
    return dataclasses.replace(state, ema=ema, **placed)


def _from_run(experiment: Experiment, variables: Any, pretrained: Pretrained) -> tuple[Loaded, str, str]:
    """Returns the variables with those of another run's network, and words for their origin and its preprocessing."""
    workdir = pretrained.path()
    network = _network_of_run(experiment, workdir)
    trained = load(workdir, checkpoint=experiment.config.init.checkpoint, network=network)
    same_classes = trained.class_names == experiment.source.class_names
    where, found = f"config.init: the network of {workdir}", trained.state.variables
    loaded = load_pretrained(variables, found, same_classes=same_classes, where=where)
    differences = some(list_differences(trained.config, experiment.config)) or "the same"
    return loaded, f"the network of {workdir} at step {int(trained.state.step)}", f"preprocessing: {differences}"


def _network_of_run(experiment: Experiment, workdir: Path) -> nn.Module | None:
    """Returns the network to read another run with, or None for the one that the other run's config names."""
    foreign = workdirs.read_foreign(workdir)
    if "network" not in foreign:
        return None
    if "network" not in experiment.foreign_parts():
        raise InputError(
            f"config.init.weights: the network of {workdir} comes from outside vjax: {foreign['network']}; a run that "
            "has a network of vjax cannot start from it. Give that network to the run in Python, as in "
            "vjax.fit(dataclasses.replace(vjax.build(config), network=...), workdir)"
        )
    return experiment.network


def _from_file(experiment: Experiment, variables: Any, pretrained: Pretrained) -> tuple[Loaded, str, str]:
    """Returns the variables with the tensors of a file, and words for their origin and their preprocessing."""
    path, config = pretrained.path(), experiment.config
    names = None if "network" in experiment.foreign_parts() else torch_names_of(config.network)
    if names is None:
        known = [name for name, card in cards().items() if card.torch_names is not None]
        raise InputError(
            "config.init.weights: the names that PyTorch gives to the tensors of this network are not known; they are "
            f"for these networks and backbones: {', '.join(known)}. Start from another run instead"
        )
    loaded = convert(variables, read_tensors(path), names(variables), where=str(path))
    if pretrained.published is None:
        return loaded, f"the weights in {path}", "no card states their preprocessing, so it stays that of the config"
    return loaded, f"the weights in {path}, which are {pretrained.published.name}", ""


def _words(loaded: Loaded) -> str:
    """Returns words for the variables that were inflated or reinitialised, and for the unused tensors."""
    inflated = f"inflated over time: {len(loaded.inflated)} kernels; " if loaded.inflated else ""
    return (
        f"{inflated}reinitialised: {', '.join(loaded.reinitialised) or 'nothing'}; "
        f"not used: {some(loaded.unused) or 'nothing'}"
    )
