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
from vjax.evaluation.infer import Normalization, answer, vote_loss
from vjax.ops.frames import to_float


@flax.struct.dataclass
class TrainState:
    """All that training changes, and data alone: no functions, no random keys.

    Attributes:
      step: steps taken; also the position in the data, and what random keys are folded from.
      params: of the network.
      batch_stats: running statistics of its batch norms; empty without them.
      opt_state: of the optimizer.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState

    @property
    def variables(self) -> dict[str, Any]:
        """What `network.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def init_state(
    network: nn.Module, optimizer: optax.GradientTransformation, *, key: jax.Array, clip_shape: tuple[int, ...]
) -> TrainState:
    """Returns the state before the first step, for clips of the shape `(t h w c)`."""
    # Compiled, so that the votes, which nobody asks for, are not computed.
    variables = jax.jit(lambda key: network.init(key, jnp.zeros((1, *clip_shape)), train=False))(key)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(variables["params"]),
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
) -> tuple[TrainState, dict[str, metrics.Sum]]:
    """Returns the state after one step and the sums of the batch's `loss` and `clip@1`.

    Args:
      state: before the step.
      batch: `clips (b t h w c)` uint8 and `label (b)`; where clips are mixed, also `other_label (b)` and `share (b)`,
        the share of `label`. `clip@1` then counts the label with the larger share.
      network: maps clips to votes.
      optimizer: turns gradients into updates.
      normalization: of the clips' channels.
      label_smoothing: share of the target spread over all classes.
      key: of the run; the step's own key is folded from it.
    """
    clips = to_float(batch["clips"], **normalization._asdict())
    dropout_key = jax.random.fold_in(key, state.step)

    def mean_loss(params: Any) -> tuple[jax.Array, tuple[Any, ...]]:
        votes, updates = network.apply(
            {"params": params, "batch_stats": state.batch_stats},
            clips,
            train=True,
            rngs={"dropout": dropout_key},
            mutable=["batch_stats"],
        )
        target = soft_target(batch, num_classes=votes.shape[-1])
        losses = vote_loss(votes, target, label_smoothing=label_smoothing)
        return losses.mean(), (losses, target, (votes, updates))

    gradient, (losses, target, (votes, updates)) = jax.grad(mean_loss, has_aux=True)(state.params)
    changes, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    right = answer(votes).probs.argmax(-1) == target.argmax(-1)
    sums = {"loss": metrics.masked_sum(losses), "clip@1": metrics.masked_sum(right)}
    after = TrainState(
        step=state.step + 1,
        params=optax.apply_updates(state.params, changes),
        batch_stats=updates.get("batch_stats", state.batch_stats),
        opt_state=opt_state,
    )
    return after, sums


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
      flops: floating-point operations of a step as XLA counts them; None where it does not.
    """

    run: Callable[..., tuple[TrainState, dict[str, metrics.Sum]]]
    compile_s: float
    flops: float | None


def compile_step(step: Callable[..., Any], state: TrainState, batch: Any, mesh: Mesh) -> CompiledStep:
    """Returns `step(state, batch)` compiled ahead of time: batch split over the mesh, the rest on every device.

    The gradient is that of the whole batch: XLA adds it up over the devices, and batch norms see all rows.
    """
    started = time.perf_counter()
    whole = meshes.replicated(mesh)
    jitted = jax.jit(step, in_shardings=(whole, meshes.split(mesh)), out_shardings=(whole, whole), donate_argnums=0)
    compiled = jitted.lower(state, batch).compile()
    costs = compiled.cost_analysis() or {}
    return CompiledStep(compiled, time.perf_counter() - started, costs.get("flops"))
