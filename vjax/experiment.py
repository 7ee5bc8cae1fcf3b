"""An experiment: everything a run needs, made from a config and checked, before a file is written.

Each part can be another one, from outside the package::

    experiment = vjax.build(config)
    vjax.fit(dataclasses.replace(experiment, network=Mine(num_classes=10)), "runs/mine")
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import optax
from jax.sharding import Mesh

from vjax import mesh as meshes
from vjax.config import Config, check_config
from vjax.data.sources import open_source
from vjax.data.transforms import Mix, TestView, TrainView
from vjax.data.video import Source
from vjax.errors import InputError
from vjax.evaluation.evaluate import Evaluation
from vjax.mesh import LAYOUTS, Layout
from vjax.spec import Choice
from vjax.training.optim import OPTIMIZERS, create_optimizer
from vjax.training.step import TrainState, init_state
from vjax.training.step_cost import StepCost, step_cost
from vjax.training.writer import Writer

OptimizerAndSchedule = tuple[optax.GradientTransformation, optax.Schedule]
Metric = Callable[[Evaluation], float]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything a run needs.

    Attributes:
      config: what the parts below were made from, and all that is a number or a name.
      source: videos of both splits, and the class names.
      network: linen module that maps clips `(b t h w c)` to logits `(b v k)`, with a keyword `train`.
      make_optimizer: maps an experiment to an optimizer and its learning rate by step.
      train_view: what training sees of a video.
      test_view: what evaluation and prediction see of a video.
      mix: how the clips of a training batch are mixed.
      mesh: mesh of the devices.
      metrics: further metrics by name, each a function of an `Evaluation`.
      writers: further writers that get the numbers of the run (training/writer.py, `Writer`).
    """

    config: Config
    source: Source
    network: nn.Module
    make_optimizer: Callable[["Experiment"], OptimizerAndSchedule]
    train_view: TrainView
    test_view: TestView
    mix: Mix
    mesh: Mesh
    metrics: Mapping[str, Metric] = dataclasses.field(default_factory=dict)
    writers: tuple[Writer, ...] = ()

    @property
    def layout(self) -> Layout:
        """How the state lies on the devices."""
        return LAYOUTS[self.config.sharding](self.mesh)

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return self.steps("length")

    def steps(self, key: str) -> int:
        """Returns a length of the config in steps; an epoch is the training split."""
        return self.config.steps(key, num_examples=len(self.source.train))

    def optimizer(self) -> OptimizerAndSchedule:
        """Returns the optimizer with the layers' own rates, and its learning rate by step before these."""
        optimizer, schedule = self.make_optimizer(self)
        return self.config.rates.apply_to(optimizer), schedule

    def foreign_parts(self) -> dict[str, str]:
        """Returns a description of each part that the config does not describe: a network from outside."""
        own = self.config.create_network(len(self.source.class_names))
        if self.network == own:
            return {}
        lines = (line.strip() for line in repr(self.network).splitlines())
        return {"network": " ".join(line for line in lines if not line.startswith("#"))}

    def check(self) -> None:
        """Raises an InputError where the parts do not fit each other."""
        num_classes = len(self.source.class_names)
        key = jax.random.key(0)
        clips = jax.ShapeDtypeStruct((1, *self.test_view.shape[1:]), "float32")
        logits, variables = jax.eval_shape(
            lambda clips: self.network.init_with_output({"params": key, "dropout": key}, clips, train=False), clips
        )
        shape = getattr(logits, "shape", None)
        if shape is None or len(shape) != 3 or shape[0] != 1 or shape[2] != num_classes:
            raise InputError(
                f"the network maps a clip {clips.shape} to {shape}; a network gives logits (b v k), here with k = "
                f"{num_classes}, one for each class"
            )
        self.config.rates.check(variables["params"])


def build(config: Config | Mapping[str, Any], *, source: Source | None = None) -> Experiment:
    """Returns the experiment that a config describes.

    Args:
      config: config of the run; the contents of a `config.json` will do.
      source: videos in place of those that the config names.

    Raises:
      InputError: the config, the data or the devices do not fit.
    """
    config = check_config(config)
    mesh = meshes.make_mesh()
    config.check_devices(mesh.size)
    if source is None:
        source = meshes.first_process_first(lambda: open_config_source(config))
    return Experiment(
        config=config,
        source=source,
        network=config.create_network(len(source.class_names)),
        make_optimizer=_make_optimizer,
        train_view=config.train_view,
        test_view=config.test_view,
        mix=config.mix,
        mesh=mesh,
    )


def open_config_source(config: Config) -> Source:
    """Returns the videos that a config names, split as it says."""
    return open_source(
        config.source,
        seed=config.seed,
        held_out=config.held_out,
        test_share=config.test_share,
        max_bad_share=config.max_bad_share,
    )


def describe_cost(config: Config, *, num_classes: int, num_devices: int) -> StepCost:
    """Returns what a step of a config's training costs; neither the devices nor the data need be there.

    Raises:
      InputError: the config does not work, or its batch does not fit the devices.
    """
    config = check_config(config)
    config.check_devices(num_devices)
    return step_cost(
        config.create_network(num_classes),
        optimizer_of_one_step(config),
        clip_shape=config.test_view.shape[1:],
        batch_size=config.batch_size,
        num_devices=num_devices,
        sharding=config.sharding,
        accumulate=config.accumulate,
        keep_ema=config.ema_decay > 0,
    )


def optimizer_of_one_step(config: Config) -> optax.GradientTransformation:
    """Returns an optimizer that takes no step: its state has the structure that it has for every length of run."""
    options = {key: 0 if key == "warmup" else value for key, value in config.optimizer.options.items()}
    return create_optimizer(Choice(config.optimizer.name, **options), num_steps=1, layer_rates=config.rates)[0]


def make_init(
    config: Config, network: nn.Module, optimizer: optax.GradientTransformation, key: jax.Array
) -> Callable[[], TrainState]:
    """Returns a function that makes the state before the first step of a config's run."""
    return functools.partial(
        init_state,
        network,
        optimizer,
        key=key,
        clip_shape=config.test_view.shape[1:],
        keep_ema=config.ema_decay > 0,
    )


def _make_optimizer(experiment: Experiment) -> OptimizerAndSchedule:
    """Returns the optimizer that the config of an experiment names."""
    choice = experiment.config.optimizer_in_steps(num_examples=len(experiment.source.train))
    return OPTIMIZERS.create(choice, num_steps=experiment.num_steps)
