"""The state of a run before its first step: random, or with the network of another run or of a file of weights."""

import dataclasses
from collections.abc import Callable
from typing import Any, TextIO

import jax
import jax.numpy as jnp

from vjax.errors import InputError
from vjax.experiment import Experiment
from vjax.models.registry import cards, torch_names_of
from vjax.preprocessing import list_differences
from vjax.text import some, terminal_width, wrap
from vjax.trained import load
from vjax.training.convert import convert
from vjax.training.init_from import load_pretrained
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
    loaded, said = (_from_run if pretrained.is_run else _from_file)(experiment, variables, pretrained)
    loaded = jax.jit(lambda tree: tree, out_shardings=layout.shardings(variables))(loaded)
    if jax.process_index() == 0:
        console.write(wrap(f"starts from {said}", width=terminal_width(), hang=2) + "\n")
    # Copy the arrays, because a step donates the buffers of both trees.
    ema = jax.tree.map(jnp.copy, loaded["params"]) if state.ema else {}
    return dataclasses.replace(state, ema=ema, **loaded)


def _from_run(experiment: Experiment, variables: Any, pretrained: Pretrained) -> tuple[Any, str]:
    """Returns the variables with those of another run's network, and words for it."""
    workdir, checkpoint = pretrained.path(), experiment.config.init.checkpoint
    network = experiment.network if "network" in experiment.foreign_parts() else None
    trained = load(workdir, checkpoint=checkpoint, network=network)
    same_classes = trained.class_names == experiment.source.class_names
    loaded, reinitialised = load_pretrained(
        variables, trained.state.variables, same_classes=same_classes, where=str(workdir)
    )
    return loaded, (
        f"the network of {workdir} at step {int(trained.state.step)}; "
        f"reinitialised: {', '.join(reinitialised) or 'nothing'}; "
        f"preprocessing: {some(list_differences(trained.config, experiment.config)) or 'the same'}"
    )


def _from_file(experiment: Experiment, variables: Any, pretrained: Pretrained) -> tuple[Any, str]:
    """Returns the variables with the tensors of a file, and words for it."""
    config, path = experiment.config, pretrained.path()
    names = None if "network" in experiment.foreign_parts() else torch_names_of(config.network)
    if names is None:
        known = [name for name, card in cards().items() if card.torch_names is not None]
        raise InputError(
            "config.init.weights: the names that PyTorch gives to the tensors of this network are not known; they are "
            f"for these networks and backbones: {', '.join(known)}. Start from the work directory of another run"
        )
    found = convert(variables, read_tensors(path), names(variables), where=str(path))
    unknown = "" if pretrained.published else "; no card states their preprocessing, so it stays that of the config"
    called = f", which are {pretrained.published.name}" if pretrained.published else ""
    return found.variables, (
        f"the weights in {path}{called}; reinitialised: {', '.join(found.missing) or 'nothing'}; "
        f"not used: {some(found.unused) or 'nothing'}{unknown}"
    )
