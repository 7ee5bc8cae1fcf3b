"""What can be put around a gradient or a step: parts of a batch, sharding, the moving average, the finite check.

As a run puts them together::

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
    """Returns the mean gradient over parts of a batch that go through the network one after the other.

    The sums are those of the whole batch; batch norms see a part at a time.
    """
    if parts == 1:
        return grad_fn

    def in_parts(params: Any, batch_stats: Any, batch: Mapping[str, jax.Array], key: jax.Array) -> Any:
        # Every parts-th row: a device's rows are neighbours, so each part takes as many from every device.
        rows = jax.tree.map(lambda leaf: jnp.swapaxes(leaf.reshape(-1, parts, *leaf.shape[1:]), 0, 1), dict(batch))
        keys = jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(parts))

        def add_part(carry: Any, part: Any) -> tuple[Any, None]:
            totals, batch_stats = carry
            *found, batch_stats = grad_fn(params, batch_stats, *part)
            return (jax.tree.map(jnp.add, totals, tuple(found)), batch_stats), None

        first = jax.tree.map(lambda leaf: leaf[0], (rows, keys))
        *shapes, _ = jax.eval_shape(functools.partial(grad_fn, params), batch_stats, *first)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tuple(shapes))
        ((grads, sums), batch_stats), _ = jax.lax.scan(add_part, (zeros, batch_stats), (rows, keys))
        return jax.tree.map(lambda total: total / parts, grads), sums, batch_stats

    return in_parts


def sharded(grad_fn: GradFn, layout: Layout) -> GradFn:
    """Returns a gradient of parameters that are laid out over the devices: gathered first, scattered after."""

    def on_devices(params: Any, batch_stats: Any, batch: Mapping[str, jax.Array], key: jax.Array) -> Any:
        grads, sums, batch_stats = grad_fn(layout.gather(params), batch_stats, batch, key)
        return layout.scatter(grads), sums, batch_stats

    return on_devices


def with_ema(step: Step, decay: float) -> Step:
    """Returns a step that also moves the average of the parameters, where the state has one.

    Args:
      step: step that leaves the average as it is.
      decay: share of the average that a step keeps; less in the first steps, or it would remember the start.
    """

    def averaging(state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[TrainState, Sums]:
        after, sums = step(state, batch)
        if not state.ema:
            return after, sums
        kept = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
        # So written, the mean of what does not change, a frozen layer, does not change either.
        ema = jax.tree.map(lambda mean, new: mean + (1 - kept) * (new - mean), state.ema, after.params)
        return dataclasses.replace(after, ema=ema), sums

    return averaging


def checked_finite(step: Step, *, skip: bool) -> Step:
    """Returns a step that counts itself in the sum `nonfinite` where its loss or its gradient is not finite.

    Args:
      step: step with the sums `loss` and `grad_norm`.
      skip: whether such a step leaves everything but `step` as it was, and all other sums at 0.
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
