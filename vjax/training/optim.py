"""Optimizers by name: optax chains with warm-up, cosine decay, gradient clipping and weight decay of kernels."""

from collections.abc import Mapping
from typing import Annotated, Any

import jax
import optax

from vjax import typed
from vjax.errors import InputError
from vjax.ops.length import Length
from vjax.spec import Choice, Range, Table
from vjax.training.layer_rates import EQUAL_RATES, LayerRates

Rate = Annotated[float, Range(above=0)]
AtLeast0 = Annotated[float, Range(at_least=0)]
Decay = Annotated[float, Range(at_least=0, below=1)]


def create_optimizer(
    choice: Choice | Mapping[str, Any], *, num_steps: int, layer_rates: LayerRates = EQUAL_RATES
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Returns the optimizer that a choice names, and its learning rate by step, without the factors of `layer_rates`.

    Raises:
      InputError: the name or an option is unknown or out of its range, or the warm-up is not shorter than the run.
    """
    checked = typed.conform_choice(choice, OPTIMIZERS, what="config.optimizer")
    optimizer, schedule = OPTIMIZERS.create(checked, num_steps=num_steps)
    return layer_rates.apply_to(optimizer), schedule


def sgd(
    *,
    num_steps: int,
    learning_rate: Rate,
    momentum: Decay = 0.9,
    weight_decay: AtLeast0 = 1e-4,
    warmup: Length = 0,
    clip_norm: AtLeast0 = 0.0,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Returns SGD with momentum; weight decay is added to the gradient, as is usual with SGD.

    Args:
      num_steps: steps of the run.
      learning_rate: highest learning rate, after the warm-up.
      momentum: decay of the accumulated gradients.
      weight_decay: decay of kernels; biases and norm scales have none.
      warmup: length of the warm-up, during which the rate rises from 0; cosine decay to 0 follows.
      clip_norm: largest global norm of the gradient; a larger gradient is scaled down to it. 0 turns clipping off.
    """
    schedule = warmup_cosine(learning_rate, warmup=warmup, num_steps=num_steps)
    decay = optax.add_decayed_weights(weight_decay, mask=is_kernel)
    return optax.chain(_clip(clip_norm), decay, optax.sgd(schedule, momentum)), schedule


def adamw(
    *,
    num_steps: int,
    learning_rate: Rate,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    weight_decay: AtLeast0 = 0.05,
    warmup: Length = 0,
    clip_norm: AtLeast0 = 1.0,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Returns AdamW.

    Source: Loshchilov and Hutter 2019, "Decoupled weight decay regularization". Deviation: the decay is scaled by
    the learning rate, as in optax and PyTorch.

    Args:
      num_steps: steps of the run.
      learning_rate: highest learning rate, after the warm-up.
      b1: decay of the mean of gradients.
      b2: decay of the mean of squared gradients.
      weight_decay: decay of kernels; biases and norm scales have none.
      warmup: length of the warm-up, during which the rate rises from 0; cosine decay to 0 follows.
      clip_norm: largest global norm of the gradient; a larger gradient is scaled down to it. 0 turns clipping off.
    """
    schedule = warmup_cosine(learning_rate, warmup=warmup, num_steps=num_steps)
    step = optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay, mask=is_kernel)
    return optax.chain(_clip(clip_norm), step), schedule


OPTIMIZERS: Table[tuple[optax.GradientTransformation, optax.Schedule]] = Table(
    {"adamw": adamw, "sgd": sgd}, given=("num_steps",)
)


def warmup_cosine(learning_rate: float, *, warmup: Length, num_steps: int) -> optax.Schedule:
    """Returns a schedule: linear from 0 over the warm-up, then half a cosine down to 0 at `num_steps`.

    Raises:
      InputError: the warm-up is not a number of steps, or is not shorter than the run.
    """
    if isinstance(warmup, str):
        raise InputError(f"optimizer.warmup must be a number of steps, got {warmup!r}; only configs take other lengths")
    if not 0 <= warmup < num_steps:
        raise InputError(f"optimizer.warmup must lie in [0, num_steps={num_steps}), got {warmup}")
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup else learning_rate,
        peak_value=learning_rate,
        warmup_steps=warmup,
        decay_steps=num_steps,
    )


def is_kernel(params: Any) -> Any:
    """Returns for each leaf whether weight decay applies: True for kernels, False for biases and norm scales."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def _clip(norm: float) -> optax.GradientTransformation:
    return optax.clip_by_global_norm(norm) if norm else optax.identity()
