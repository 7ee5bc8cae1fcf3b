"""Warm-up of the head: only the classifier learns at first, so that its random start does not spoil other layers."""

from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import optax

from vjax.errors import InputError
from vjax.models.fusion import CLASSIFIER
from vjax.training.layer_rates import lies_in


def check_head_warmup(warmup: int, params: Any, *, num_steps: int) -> None:
    """Raises an InputError if there is no classifier to warm up, or no step after the warm-up.

    Args:
      warmup: steps of the warm-up; 0 for none.
      params: parameters of the network, or their shapes.
      num_steps: steps of the run.
    """
    if warmup and not any(lies_in(name, CLASSIFIER) for name in flax.traverse_util.flatten_dict(params, sep="/")):
        raise InputError(
            f"config.head_warmup: the network has no classifier; its layer to the logits must be called {CLASSIFIER}, "
            "as in the networks of vjax (vjax.models.fusion.Head). Set head_warmup to 0"
        )
    if warmup >= num_steps:
        raise InputError(
            f"config.head_warmup must be shorter than the run of {num_steps} step(s), got {warmup} step(s); to train "
            "the classifier alone, set config.layer_rates instead, as in 'backbone=0'"
        )


def warm_up_head(optimizer: optax.GradientTransformation, num_steps: int) -> optax.GradientTransformation:
    """Returns an optimizer whose first updates are 0 outside the classifier.

    The optimizer still sees all gradients, so its averages of them are ready when the other layers begin to learn.

    Args:
      optimizer: optimizer of all parameters.
      num_steps: number of updates of the warm-up; 0 for no warm-up.

    >>> optimizer = warm_up_head(optax.sgd(1.0), 1)
    >>> grads = {"backbone": jnp.ones(()), "head": {"logits": jnp.ones(())}}
    >>> state = optimizer.init(grads)
    >>> for _ in range(2):
    ...     updates, state = optimizer.update(grads, state)
    ...     print(float(updates["backbone"]), float(updates["head"]["logits"]))
    0.0 -1.0
    -1.0 -1.0
    """
    if not num_steps:
        return optimizer

    def init(params: Any) -> Any:
        del params
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        is_over = state.count >= num_steps

        def scale(path: Any, leaf: jax.Array) -> jax.Array:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            # Not a product, because 0 times a number that is not finite is not 0.
            return leaf if lies_in(name, CLASSIFIER) else jnp.where(is_over, leaf, jnp.zeros_like(leaf))

        counted = optax.ScaleByScheduleState(optax.safe_increment(state.count))
        return jax.tree_util.tree_map_with_path(scale, updates), counted

    return optax.chain(optimizer, optax.GradientTransformation(init, update))
