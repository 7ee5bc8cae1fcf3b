"""An experiment: all parts of a run, built from a config before the run writes a file.

Any part can be replaced by one from outside the package::

    experiment = vjax.build(config)
    vjax.fit(dataclasses.replace(experiment, network=Mine(num_classes=10)), "runs/mine")
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import optax
from jax.sharding import Mesh

from vjax import mesh as meshes
from vjax.config import Config, check_config
from vjax.data.balance import class_weights, positions_by_class
from vjax.data.pages import LabelledClips
from vjax.data.pipeline import Order, Shard, train_batches
from vjax.data.sources import open_source
from vjax.data.transforms import Mix, TestView, TrainView
from vjax.data.video import Source
from vjax.errors import InputError
from vjax.evaluation.evaluate import Evaluation
from vjax.mesh import LAYOUTS, Layout
from vjax.preprocessing import bind_preprocessing
from vjax.text import Advance, show_nothing
from vjax.training.head_warmup import check_head_warmup, warm_up_head
from vjax.training.optim import OPTIMIZERS
from vjax.training.step import Step, TrainState, check_frozen_norms, init_state, make_grad_fn, train_step
from vjax.training.wrappers import accumulated, checked_finite, sharded, with_ema
from vjax.training.writer import Writer

OptimizerAndSchedule = tuple[optax.GradientTransformation, optax.Schedule]
Metric = Callable[[Evaluation], float]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All parts of a run.

    Attributes:
      config: config that the other parts were built from; the run also reads all numbers and names from it.
      source: videos of all splits, and the class names.
      network: linen module that maps clips `(b t h w c)` to logits `(b v k)`, with a keyword argument `train`.
      make_optimizer: function from an experiment to an optimizer and its learning rate schedule.
      train_view: random view of a video that training takes.
      test_view: clips and crops of a video that evaluation and prediction use.
      mix: mixup and cutmix of the training batches.
      mesh: device mesh.
      metrics: additional metrics by name, each a function of an `Evaluation`.
      writers: additional writers that receive the metrics of the run (training/writer.py, `Writer`).
      notes: what a new run says about its config, such as the keys that its weights have replaced.
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
    notes: tuple[str, ...] = ()

    def training_clips(self, num_clips: int = 8) -> LabelledClips:
        """Returns the first clips of training, augmented and mixed as the network gets them; a notebook shows them."""
        order = Order(self.config.seed, self.classes_to_draw)
        shard = Shard(max(num_clips, self.config.batch_size), 0, 1)
        batches = train_batches(
            self.source.train, self.train_view, shard, order=order, start_step=0, num_workers=0, mix=self.mix
        )
        batch, names = next(batches), self.source.class_names
        captions = [names[label] for label in batch["label"]]
        if "other_label" in batch:
            mixed = zip(captions, batch["share"], batch["other_label"], strict=True)
            captions = [f"{name} {share:.2f}, {names[other]} {1 - share:.2f}" for name, share, other in mixed]
        return LabelledClips(batch["clips"][:num_clips], captions[:num_clips])

    @property
    def layout(self) -> Layout:
        """How the training state is distributed over the devices."""
        return LAYOUTS[self.config.sharding](self.mesh)

    @property
    def num_steps(self) -> int:
        """Number of steps of the run."""
        return self.steps("length")

    def steps(self, key: str) -> int:
        """Returns a length of the config in steps; an epoch is one pass over the training split."""
        return self.config.steps(key, num_examples=len(self.source.train))

    def optimizer(self) -> OptimizerAndSchedule:
        """Returns the optimizer with layer rates and the head's warm-up, and its learning rate without them."""
        optimizer, schedule = self.make_optimizer(self)
        return warm_up_head(self.config.rates.apply_to(optimizer), self.steps("head_warmup")), schedule

    def step_function(self, optimizer: optax.GradientTransformation, key: jax.Array) -> Step:
        """Returns the training step; `key` is the random key of the run."""
        return make_step(
            self.config, self.network, optimizer, layout=self.layout, class_weights=self.class_weights, key=key
        )

    @property
    def class_weights(self) -> tuple[float, ...]:
        """Factor on the loss of each class; empty unless the config balances classes by weights."""
        balanced = self.config.class_balance == "weights"
        return class_weights(positions_by_class(self.source)) if balanced else ()

    @property
    def classes_to_draw(self) -> tuple[tuple[int, ...], ...]:
        """Positions of each class in the training split; empty unless the config balances classes by sampling."""
        return positions_by_class(self.source) if self.config.class_balance == "sampling" else ()

    def foreign_parts(self) -> dict[str, str]:
        """Returns a description of each part that does not come from the config, such as a network from outside."""
        own = {
            "network": self.config.create_network(len(self.source.class_names)),
            "make_optimizer": _make_optimizer,
            "train_view": self.config.train_view,
            "test_view": self.config.test_view,
            "mix": self.config.mix,
        }
        return {name: _describe(getattr(self, name)) for name, part in own.items() if getattr(self, name) != part}

    def check(self) -> None:
        """Raises an InputError if the logits have the wrong shape, or a key does not fit the network or the videos."""
        num_classes = len(self.source.class_names)
        key = jax.random.key(0)
        clips = jax.ShapeDtypeStruct((1, *self.test_view.shape[1:]), "float32")
        logits, variables = jax.eval_shape(
            lambda clips: self.network.init_with_output({"params": key, "dropout": key}, clips, train=False), clips
        )
        shape = getattr(logits, "shape", None)
        if shape is None or len(shape) != 3 or shape[0] != 1 or shape[2] != num_classes:
            raise InputError(
                f"the network maps clips of shape {clips.shape} to an output of shape {shape}; a network must return "
                f"logits (b v k), here with k = {num_classes} classes"
            )
        if self.config.class_balance != "none":
            positions_by_class(self.source)
        self.config.rates.check(variables["params"])
        check_head_warmup(self.steps("head_warmup"), variables["params"], num_steps=self.num_steps)
        if self.config.freeze_norms:
            check_frozen_norms(self.network, variables, clips)


def build(
    config: Config | Mapping[str, Any], *, source: Source | None = None, advance: Advance = show_nothing
) -> Experiment:
    """Builds the experiment that a config describes, with the preprocessing of the weights that it starts from.

    Args:
      config: config of the run, or the content of a `config.json`.
      source: videos to use instead of those that the config names.
      advance: progress callback of process 0; gets the number of indexed videos and the number of all videos.

    Raises:
      InputError: the config or the data is wrong, or a batch cannot be split over the devices.
    """
    config, notes = bind_preprocessing(check_config(config))
    mesh = meshes.make_mesh()
    config.check_devices(mesh.size)
    if source is None:
        if jax.process_index() > 0:
            advance = show_nothing
        source = meshes.first_process_first(lambda: open_config_source(config, advance=advance))
    return Experiment(
        config=config,
        source=source,
        network=config.create_network(len(source.class_names)),
        make_optimizer=_make_optimizer,
        train_view=config.train_view,
        test_view=config.test_view,
        mix=config.mix,
        mesh=mesh,
        notes=notes,
    )


def open_config_source(config: Config, *, advance: Advance = show_nothing) -> Source:
    """Opens the videos that a config names, split as the config says; `advance` as in `open_source`."""
    return open_source(
        config.source,
        seed=config.seed,
        held_out=config.held_out,
        test_share=config.test_share,
        val_share=config.val_share,
        keep_split=config.keep_split,
        max_bad_share=config.max_bad_share,
        advance=advance,
    )


def make_init(
    config: Config, network: nn.Module, optimizer: optax.GradientTransformation, *, view: TestView, key: jax.Array
) -> Callable[[], TrainState]:
    """Returns a function that creates the training state before the first step, for clips of the view's shape."""
    return functools.partial(
        init_state,
        network,
        optimizer,
        key=key,
        clip_shape=view.shape[1:],
        keep_ema=config.ema_decay > 0,
    )


def make_step(
    config: Config,
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    layout: Layout,
    class_weights: Sequence[float],
    key: jax.Array,
) -> Step:
    """Returns the training step: the gradient function and the step, each in the wrappers that the config asks for."""
    grad_fn = make_grad_fn(
        network,
        clip_input=config.clip_input,
        label_smoothing=config.label_smoothing,
        class_weights=class_weights,
        layer_rates=config.rates,
        freeze_norms=config.freeze_norms,
    )
    grad_fn = sharded(accumulated(grad_fn, config.accumulate), layout)
    step = functools.partial(train_step, grad_fn=grad_fn, optimizer=optimizer, key=key)
    return checked_finite(with_ema(step, config.ema_decay), skip=config.skip_nonfinite)


def _describe(part: Any) -> str:
    """Returns a part in one line that is the same in every process: a function by its name, others by their fields."""
    if name := getattr(part, "__qualname__", ""):
        return f"{part.__module__}.{name}"
    lines = (line.strip() for line in repr(part).splitlines())
    text = " ".join(line for line in lines if not line.startswith("#"))
    return re.sub(r" at 0x[0-9a-f]+", "", text)  # addresses differ from process to process


def _make_optimizer(experiment: Experiment) -> OptimizerAndSchedule:
    """Creates the optimizer that the config of an experiment names, and its learning rate schedule."""
    choice = experiment.config.optimizer_in_steps(num_examples=len(experiment.source.train))
    return OPTIMIZERS.create(choice, num_steps=experiment.num_steps)
