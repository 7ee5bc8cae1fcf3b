"""Optimizers by name: an optax chain with warm-up, cosine decay, clipping and weight decay on kernels alone."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from vjax import spec
from vjax.errors import InputError
from vjax.training.transfer import EQUAL_RATES, LayerRates


def create_optimizer(
    config: Mapping[str, Any], *, num_steps: int, layer_rates: LayerRates = EQUAL_RATES
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Returns the optimizer a config names, and its learning rate by step, before the layers' own factors.

    Raises:
      InputError: the name or a key is unknown, or the warm-up is as long as the run.
    """
    optimizer, schedule = spec.create(config, OPTIMIZERS, what="config.optimizer", num_steps=num_steps)
    return optax.chain(optimizer, layer_rates.scale()), schedule


def sgd(
    *,
    num_steps: int,
    learning_rate: float,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    warmup: int = 0,
    clip_norm: float = 0.0,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Returns SGD with momentum; weight decay is added to the gradient, as is usual with SGD."""
    schedule = warmup_cosine(learning_rate, warmup=warmup, num_steps=num_steps)
    decay = optax.add_decayed_weights(weight_decay, mask=is_kernel)
    return optax.chain(_clip(clip_norm), decay, optax.sgd(schedule, momentum)), schedule


def adamw(
    *,
    num_steps: int,
    learning_rate: float,
    b1: float = 0.9,
    b2: float = 0.999,
    weight_decay: float = 0.05,
    warmup: int = 0,
    clip_norm: float = 1.0,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Returns AdamW.

    Source: Loshchilov and Hutter 2019, "Decoupled weight decay regularization". Deviation: the decay is scaled by
    the learning rate, as in optax and PyTorch.
    """
    schedule = warmup_cosine(learning_rate, warmup=warmup, num_steps=num_steps)
    step = optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay, mask=is_kernel)
    return optax.chain(_clip(clip_norm), step), schedule


OPTIMIZERS: dict[str, Callable[..., tuple[optax.GradientTransformation, optax.Schedule]]] = {
    "adamw": adamw,
    "sgd": sgd,
}


def warmup_cosine(learning_rate: float, *, warmup: int, num_steps: int) -> optax.Schedule:
    """Returns a schedule: linear from 0 over the warm-up, then half a cosine down to 0 at `num_steps`."""
    if not 0 <= warmup < num_steps:
        raise InputError(f"optimizer.warmup must lie in [0, num_steps={num_steps}), got {warmup}")
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup else learning_rate,
        peak_value=learning_rate,
        warmup_steps=warmup,
        decay_steps=num_steps,
    )


def is_kernel(params: Any) -> Any:
    """Returns, leaf by leaf, whether weight decay applies: to kernels, not to biases and norm scales."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def _clip(norm: float) -> optax.GradientTransformation:
    return optax.clip_by_global_norm(norm) if norm else optax.identity()
