"""What a training step of a config takes: computed from shapes alone, and as XLA plans it for this machine."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from vjax import mesh as meshes
from vjax.config import Config, check_config
from vjax.errors import InputError
from vjax.experiment import make_init, make_step
from vjax.preprocessing import bind_preprocessing
from vjax.spec import Choice
from vjax.training.optim import create_optimizer
from vjax.training.step import abstract_state, compile_step
from vjax.training.step_cost import StepCost, step_cost


class PlannedMemory(NamedTuple):
    """The memory of a compiled step on one device, in bytes.

    Attributes:
      arguments: the state before the step, and the batch.
      temporary: everything that the step keeps or writes while it runs.
    """

    arguments: int
    temporary: int


def describe_cost(config: Config, *, num_classes: int, num_devices: int) -> StepCost:
    """Returns the cost of a training step; neither the devices nor the data are needed.

    Args:
      config: config of the run.
      num_classes: number of classes.
      num_devices: number of devices that share a batch.

    Raises:
      InputError: the config is wrong, a batch cannot be split over the devices, or there are no classes.
    """
    config, network = _checked(config, num_classes, num_devices)
    return step_cost(
        network,
        _optimizer_of_one_step(config),
        clip_shape=config.test_view.shape[1:],
        batch_size=config.batch_size,
        num_devices=num_devices,
        sharding=config.sharding,
        accumulate=config.accumulate,
        keep_ema=config.ema_decay > 0,
    )


def plan_step(config: Config, *, num_classes: int) -> PlannedMemory:
    """Compiles a training step for all devices of this machine, which takes up to minutes, and returns XLA's plan.

    Args:
      config: config of the run.
      num_classes: number of classes.

    Raises:
      InputError: as `describe_cost`.
    """
    mesh = meshes.make_mesh()
    config, network = _checked(config, num_classes, mesh.size)
    layout, optimizer = meshes.LAYOUTS[config.sharding](mesh), _optimizer_of_one_step(config)
    state = abstract_state(make_init(config, network, optimizer, view=config.test_view, key=jax.random.key(0)), layout)
    step = make_step(config, network, optimizer, layout=layout, class_weights=(), key=jax.random.key(0))
    batch = {
        "clips": jax.ShapeDtypeStruct((config.batch_size, *config.test_view.shape[1:]), jnp.uint8),
        "label": jax.ShapeDtypeStruct((config.batch_size,), jnp.int32),
    }
    compiled: Any = compile_step(step, state, batch, mesh).run
    plan = compiled.memory_analysis()
    return PlannedMemory(plan.argument_size_in_bytes, plan.temp_size_in_bytes)


def _checked(config: Config, num_classes: int, num_devices: int) -> tuple[Config, nn.Module]:
    config, _ = bind_preprocessing(check_config(config))
    config.check_devices(num_devices)
    if num_classes < 1:
        raise InputError(f"a network needs 1 class or more, got {num_classes}")
    return config, config.create_network(num_classes)


def _optimizer_of_one_step(config: Config) -> optax.GradientTransformation:
    """Returns an optimizer that takes no step; the structure of its state is the same for any length of run."""
    options = {key: 0 if key == "warmup" else value for key, value in config.optimizer.options.items()}
    return create_optimizer(Choice(config.optimizer.name, **options), num_steps=1, layer_rates=config.rates)[0]
