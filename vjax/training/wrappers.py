"""Wrappers of a gradient function or a step: accumulation, sharding, the moving average, the finite check.

A run combines them like this::

    grad_fn = sharded(accumulated(make_grad_fn(network), 4), layout)
    step = functools.partial(train_step, grad_fn=grad_fn, optimizer=optimizer, key=key)
    step = checked_finite(with_ema(step, 0.999), skip=True)
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vjax.evaluation import metrics
from vjax.mesh import Layout
from vjax.training.step import GradFn, Step, Sums, TrainState


def accumulated(grad_fn: GradFn, parts: int) -> GradFn:
    """Returns a gradient function that splits a batch into parts, processes one after the other, and returns the mean.

    The sums are those of the full batch; batch norms see one part at a time.
    """
    if parts == 1:
        return grad_fn

    def in_parts(params: Any, batch_stats: Any, batch: Mapping[str, jax.Array], key: jax.Array) -> Any:
        # A part takes every `parts`-th row. A device's rows are contiguous, so a part has equally many of each device.
        rows = jax.tree.map(lambda leaf: jnp.swapaxes(leaf.reshape(-1, parts, *leaf.shape[1:]), 0, 1), dict(batch))
        keys = jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(parts))

        def add_part(carry: Any, part: Any) -> tuple[Any, None]:
            totals, batch_stats = carry
            *found, batch_stats = grad_fn(params, batch_stats, *part)
            return (jax.tree.map(jnp.add, totals, tuple(found)), batch_stats), None

        # The loop over the parts starts with totals of 0.
        first = jax.tree.map(lambda leaf: leaf[0], (rows, keys))
        *shapes, _ = jax.eval_shape(functools.partial(grad_fn, params), batch_stats, *first)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tuple(shapes))
        ((grads, sums), batch_stats), _ = jax.lax.scan(add_part, (zeros, batch_stats), (rows, keys))
        return jax.tree.map(lambda total: total / parts, grads), sums, batch_stats

    return in_parts


def sharded(grad_fn: GradFn, layout: Layout) -> GradFn:
    """Returns a gradient function for sharded parameters: it gathers the parameters and scatters the gradients."""

    def on_devices(params: Any, batch_stats: Any, batch: Mapping[str, jax.Array], key: jax.Array) -> Any:
        grads, sums, batch_stats = grad_fn(layout.gather(params), batch_stats, batch, key)
        return layout.scatter(grads), sums, batch_stats

    return on_devices


def with_ema(step: Step, decay: float) -> Step:
    """Returns a step that also updates the moving average of the parameters, if the state has one.

    Args:
      step: step that does not change the average.
      decay: share of the average that a step keeps; it is smaller in the first steps, so that the initial parameters
        are forgotten.
    """

    def averaging(state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Sums]:
        after, sums = step(state, batch)
        if not state.ema:
            return after, sums
        kept = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
        # In this form the average of a frozen layer does not change.
        ema = jax.tree.map(lambda mean, new: mean + (1 - kept) * (new - mean), state.ema, after.params)
        return dataclasses.replace(after, ema=ema), sums

    return averaging


def checked_finite(step: Step, *, skip: bool) -> Step:
    """Returns a step with a further sum, `nonfinite`, which counts the step if its loss or gradient is not finite.

    Args:
      step: step with the sums `loss` and `grad_norm`.
      skip: whether such a step changes nothing in the state but `step`, and has 0 in all other sums.
    """

    def checked(state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Sums]:
        after, sums = step(state, batch)
        finite = jnp.isfinite(sums["loss"].total) & jnp.isfinite(sums["grad_norm"].total)
        if skip:
            kept = dataclasses.replace(state, step=after.step)
            after = jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, kept)
            sums = {
                name: metrics.masked_sum(part.total, finite)._replace(weight=part.weight * finite)
                for name, part in sums.items()
            }
        return after, sums | {"nonfinite": metrics.masked_sum(~finite)}

    return checked
