"""One train step: a plain function, and its compilation for a mesh."""

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
from vjax.evaluation.infer import Normalization, clip_probs, cross_entropy
from vjax.mesh import Layout
from vjax.training.layer_rates import EQUAL_RATES, LayerRates


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
        """What `network.apply` takes at test time: the averaged parameters where there are any."""
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
    # Compiled, so that the logits, which nobody asks for, are not computed.
    variables = jax.jit(lambda key: network.init(key, jnp.zeros((1, *clip_shape)), train=False))(key)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(variables["params"]),
        # A copy: a step gives up the buffers of both.
        ema=jax.tree.map(jnp.copy, variables["params"]) if keep_ema else {},
    )


def abstract_state(make_state: Callable[[], TrainState], layout: Layout) -> TrainState:
    """Returns the shapes and shardings of the state that `make_state` makes, without computing it."""
    shapes = jax.eval_shape(make_state)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        layout.shardings(shapes),
    )


# (params, batch_stats, batch, key) -> (grads, sums, batch_stats)
GradFn = Callable[[Any, Any, Mapping[str, jax.Array], jax.Array], tuple[Any, dict[str, metrics.Sum], Any]]
Sums = dict[str, metrics.Sum]
Step = Callable[[TrainState, Mapping[str, jax.Array]], tuple[TrainState, Sums]]


def train_step(
    state: TrainState,
    batch: Mapping[str, jax.Array],
    *,
    grad_fn: GradFn,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
) -> tuple[TrainState, Sums]:
    """Returns the state after one step, and sums: `loss`, `clip@1`, `grad_norm`, `param_norm`.

    Args:
      state: state before the step; its moving average is left as it is (`wrappers.with_ema`).
      batch: `clips (b t h w c)` uint8 and `label (b)`; where clips are mixed, also `other_label (b)` and `share (b)`,
        the share of `label`. `clip@1` then counts the label with the larger share.
      grad_fn: gives gradients (`make_grad_fn`, and what wraps it in `wrappers`).
      optimizer: turns gradients into updates.
      key: key of the run; the step's own key is folded from it.
    """
    step_key = jax.random.fold_in(key, state.step)
    grads, sums, batch_stats = grad_fn(state.params, state.batch_stats, batch, step_key)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    norms = {"grad_norm": optax.tree.norm(grads), "param_norm": optax.tree.norm(params)}
    sums |= {name: metrics.masked_sum(norm) for name, norm in norms.items()}
    after = TrainState(state.step + 1, params, batch_stats, opt_state, state.ema)
    return after, sums


def make_grad_fn(
    network: nn.Module,
    *,
    normalization: Normalization = Normalization(),
    label_smoothing: float = 0.0,
    layer_rates: LayerRates = EQUAL_RATES,
) -> GradFn:
    """Returns a function from parameters and a batch to the gradients of the mean loss.

    Args:
      network: maps clips to logits.
      normalization: normalization of the clips' channels.
      label_smoothing: share of the target that is spread over all classes.
      layer_rates: say which parameters are frozen.
    """

    def grad_fn(params: Any, batch_stats: Any, batch: Mapping[str, jax.Array], key: jax.Array) -> Any:
        def mean_loss(params: Any) -> tuple[jax.Array, tuple[Any, Any]]:
            logits, updates = network.apply(
                {"params": layer_rates.freeze(params), "batch_stats": batch_stats},
                normalization(batch["clips"]),
                train=True,
                rngs={"dropout": key},
                mutable=["batch_stats"],
            )
            target = soft_target(batch, num_classes=logits.shape[-1])
            losses = cross_entropy(logits, target, label_smoothing=label_smoothing)
            right = metrics.top_k_correct(clip_probs(logits).probs, target.argmax(-1), k=1)
            sums = {"loss": metrics.masked_sum(losses), "clip@1": metrics.masked_sum(right)}
            return losses.mean(), (sums, updates.get("batch_stats", batch_stats))

        grads, (sums, batch_stats_after) = jax.grad(mean_loss, has_aux=True)(params)
        return grads, sums, batch_stats_after

    return grad_fn


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
