"""One train step: a plain function, and its compilation for a mesh."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from vjax import mesh as meshes
from vjax.evaluation import metrics
from vjax.evaluation.infer import Normalization, answer, vote_loss
from vjax.mesh import Layout
from vjax.training.transfer import EQUAL_RATES, LayerRates


@flax.struct.dataclass
class TrainState:
    """All that training changes, and data alone: no functions, no random keys.

    Attributes:
      step: steps taken; also the position in the data, and what random keys are folded from.
      params: of the network.
      batch_stats: running statistics of its batch norms; empty without them.
      opt_state: of the optimizer.
      ema: the moving average of the parameters; empty where none is kept.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    ema: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What `network.apply` takes to answer: the averaged parameters where there are any."""
        return {"params": self.ema or self.params, "batch_stats": self.batch_stats}


def init_state(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    key: jax.Array,
    clip_shape: tuple[int, ...],
    keep_ema: bool = False,
) -> TrainState:
    """Returns the state before the first step, for clips of the shape `(t h w c)`."""
    # Compiled, so that the votes, which nobody asks for, are not computed.
    variables = jax.jit(lambda key: network.init(key, jnp.zeros((1, *clip_shape)), train=False))(key)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(variables["params"]),
        # A copy: a step gives up the buffers of both.
        ema=jax.tree.map(jnp.copy, variables["params"]) if keep_ema else {},
    )


def abstract_state(fresh: Callable[[], TrainState], layout: Layout) -> TrainState:
    """Returns the shapes and shardings of the state that `fresh` makes; nothing is computed."""
    shapes = jax.eval_shape(fresh)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        layout.shardings(shapes),
    )


def train_step(
    state: TrainState,
    batch: Mapping[str, jax.Array],
    *,
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    normalization: Normalization,
    label_smoothing: float,
    key: jax.Array,
    layout: Layout,
    layer_rates: LayerRates = EQUAL_RATES,
    accumulate: int = 1,
    ema_decay: float = 0.0,
    skip_bad: bool = False,
) -> tuple[TrainState, dict[str, metrics.Sum]]:
    """Returns the state after one step, and sums: `loss`, `clip@1`, `grad_norm`, `param_norm`, `bad`.

    A step is bad where its loss or its gradient is not finite; `bad` counts it.

    Args:
      state: before the step.
      batch: `clips (b t h w c)` uint8 and `label (b)`; where clips are mixed, also `other_label (b)` and `share (b)`,
        the share of `label`. `clip@1` then counts the label with the larger share.
      network: maps clips to votes.
      optimizer: turns gradients into updates.
      normalization: of the clips' channels.
      label_smoothing: share of the target spread over all classes.
      key: of the run; the step's own key is folded from it.
      layout: of the state on the devices.
      layer_rates: say which parameters are frozen.
      accumulate: parts of the batch that go through the network one after the other; the update is that of the
        whole batch, batch norms see a part at a time.
      ema_decay: share of the averaged parameters that a step keeps; less in the first steps.
      skip_bad: whether a bad step leaves everything but `step` as it was.
    """
    step_key = jax.random.fold_in(key, state.step)
    params = layout.gather(state.params)

    def part_gradient(batch_stats: Any, part: Mapping[str, jax.Array], part_key: jax.Array) -> Any:
        def mean_loss(params: Any) -> tuple[jax.Array, tuple[Any, Any]]:
            votes, updates = network.apply(
                {"params": layer_rates.freeze(params), "batch_stats": batch_stats},
                normalization(part["clips"]),
                train=True,
                rngs={"dropout": part_key},
                mutable=["batch_stats"],
            )
            target = soft_target(part, num_classes=votes.shape[-1])
            losses = vote_loss(votes, target, label_smoothing=label_smoothing)
            right = metrics.top_k_correct(answer(votes).probs, target.argmax(-1), k=1)
            sums = {"loss": metrics.masked_sum(losses), "clip@1": metrics.masked_sum(right)}
            return losses.mean(), (sums, updates.get("batch_stats", batch_stats))

        gradient, (sums, batch_stats) = jax.grad(mean_loss, has_aux=True)(params)
        return gradient, sums, batch_stats

    if accumulate == 1:
        gradient, sums, batch_stats = part_gradient(state.batch_stats, batch, step_key)
    else:
        gradient, sums, batch_stats = _in_parts(part_gradient, state.batch_stats, batch, accumulate, step_key)
    gradient = layout.scatter(gradient)
    changes, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    new_params = optax.apply_updates(state.params, changes)
    norms = {"grad_norm": optax.tree.norm(gradient), "param_norm": optax.tree.norm(new_params)}
    sums |= {name: metrics.masked_sum(norm) for name, norm in norms.items()}
    good = jnp.isfinite(sums["loss"].total) & jnp.isfinite(norms["grad_norm"])
    after = TrainState(
        step=state.step + 1,
        params=new_params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        ema=_average(state.ema, new_params, decay=ema_decay, step=state.step) if state.ema else {},
    )
    if skip_bad:
        kept = dataclasses.replace(state, step=after.step)
        after = jax.tree.map(lambda new, old: jnp.where(good, new, old), after, kept)
        sums = {
            name: metrics.masked_sum(part.total, good)._replace(weight=part.weight * good)
            for name, part in sums.items()
        }
    return after, sums | {"bad": metrics.masked_sum(~good)}


def _in_parts(
    part_gradient: Callable[..., Any], batch_stats: Any, batch: Mapping[str, jax.Array], count: int, key: jax.Array
) -> Any:
    """The mean gradient, the sums and the statistics of a batch that goes through the network in parts."""
    # Every count-th row: a device's rows are neighbours, so each part takes as many from every device.
    parts = jax.tree.map(lambda rows: jnp.swapaxes(rows.reshape(-1, count, *rows.shape[1:]), 0, 1), dict(batch))
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(count))

    def add_part(carry: Any, part: Any) -> tuple[Any, None]:
        totals, batch_stats = carry
        *found, batch_stats = part_gradient(batch_stats, *part)
        return (jax.tree.map(jnp.add, totals, tuple(found)), batch_stats), None

    first = jax.tree.map(lambda rows: rows[0], (parts, keys))
    *shapes, _ = jax.eval_shape(part_gradient, batch_stats, *first)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tuple(shapes))
    ((gradient, sums), batch_stats), _ = jax.lax.scan(add_part, (zeros, batch_stats), (parts, keys))
    return jax.tree.map(lambda total: total / count, gradient), sums, batch_stats


def _average(ema: Any, params: Any, *, decay: float, step: jax.Array) -> Any:
    """The moving average after a step; in the first steps it forgets faster, or it would remember the start."""
    kept = jnp.minimum(decay, (1 + step) / (10 + step))
    # So written, the mean of what does not change, a frozen layer, does not change either.
    return jax.tree.map(lambda mean, new: mean + (1 - kept) * (new - mean), ema, params)


def soft_target(batch: Mapping[str, jax.Array], *, num_classes: int) -> jax.Array:
    """Returns the share of each class in each clip of a batch, `(b k)`: one class's, or two where clips are mixed."""
    target = jax.nn.one_hot(batch["label"], num_classes)
    if "share" not in batch:
        return target
    share = batch["share"][:, None]
    return share * target + (1 - share) * jax.nn.one_hot(batch["other_label"], num_classes)


class CompiledStep(NamedTuple):
    """A train step for one mesh and one shape of batch.

    Attributes:
      run: `(state, batch) -> (state, sums)`; the state given is used up.
      compile_s: seconds that compiling took.
      flops: floating-point operations of a step on each device, as XLA counts them; None where it does not.
    """

    run: Callable[..., tuple[TrainState, dict[str, metrics.Sum]]]
    compile_s: float
    flops: float | None


def compile_step(
    step: Callable[..., Any], state: TrainState, batch: Any, mesh: Mesh, *, accumulate: int = 1
) -> CompiledStep:
    """Returns `step(state, batch)` compiled ahead of time: batch split over the mesh, the state where it lies.

    The gradient is that of the whole batch: XLA adds it up over the devices, and batch norms see all rows. The step
    takes a batch in `accumulate` parts, in a loop, of which XLA counts the operations once.
    """
    started = time.perf_counter()
    kept = jax.tree.map(lambda leaf: leaf.sharding, state)
    jitted = jax.jit(
        step,
        in_shardings=(kept, meshes.split(mesh)),
        out_shardings=(kept, meshes.replicated(mesh)),
        donate_argnums=0,
    )
    compiled = jitted.lower(state, batch).compile()
    flops = (compiled.cost_analysis() or {}).get("flops")
    return CompiledStep(compiled, time.perf_counter() - started, None if flops is None else flops * accumulate)
