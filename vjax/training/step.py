"""The train step: its state, the plain function, and its compilation for a mesh."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.errors
import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from vjax import mesh as meshes
from vjax.errors import InputError
from vjax.evaluation import metrics
from vjax.evaluation.infer import clip_probs, cross_entropy
from vjax.mesh import Layout
from vjax.ops.clip_input import ClipInput
from vjax.training.layer_rates import EQUAL_RATES, LayerRates


@flax.struct.dataclass
class TrainState:
    """Everything that training changes. It holds arrays only: no functions, no random keys.

    Attributes:
      step: number of steps taken; it is also the data position, and is folded into the random keys.
      params: parameters of the network.
      batch_stats: running statistics of the batch norms; empty for a network without batch norms.
      opt_state: state of the optimizer.
      ema: moving average of the parameters; empty if none is kept.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    ema: Any

    @property
    def variables(self) -> dict[str, Any]:
        """Variables for `network.apply` at test time, with the averaged parameters if there are any."""
        return {"params": self.ema or self.params, "batch_stats": self.batch_stats}


def init_state(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    key: jax.Array,
    clip_shape: tuple[int, ...],
    keep_ema: bool = False,
) -> TrainState:
    """Returns the state before the first step, for clips of shape `(t h w c)`."""
    # Jitted, so that XLA does not compute the unused logits.
    variables = jax.jit(lambda key: network.init(key, jnp.zeros((1, *clip_shape)), train=False))(key)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(variables["params"]),
        # A copy, because a step donates the buffers of both trees.
        ema=jax.tree.map(jnp.copy, variables["params"]) if keep_ema else {},
    )


def abstract_state(make_state: Callable[[], TrainState], layout: Layout) -> TrainState:
    """Returns the shapes and shardings of the state that `make_state` returns, without computing it."""
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
    """Returns the state after one step, and the sums `loss`, `clip@1`, `grad_norm` and `param_norm`.

    Args:
      state: state before the step; its moving average does not change here (see `wrappers.with_ema`).
      batch: `clips (b t h w c)` uint8 and `label (b)`; if clips are mixed, also `other_label (b)` and `share (b)`,
        the share of `label`. `clip@1` then counts the label with the larger share.
      grad_fn: gradient function, from `make_grad_fn` and its wrappers in `wrappers`.
      optimizer: optimizer that turns gradients into updates.
      key: random key of the run; the step number is folded into it.
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
    clip_input: ClipInput = ClipInput(),
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] = (),
    layer_rates: LayerRates = EQUAL_RATES,
    freeze_norms: bool = False,
) -> GradFn:
    """Returns a function from parameters and a batch to gradients of the mean loss, sums and batch statistics.

    Args:
      network: network that maps clips to logits.
      clip_input: conversion of uint8 clips to the network's input.
      label_smoothing: share of the target that is spread over all classes.
      class_weights: factor on the loss of each class; empty for 1. Mixed clips get the mean of their two classes.
      layer_rates: learning rate factors by layer; parameters with factor 0 get no gradient.
      freeze_norms: whether batch norms use and keep the statistics that they are given (layers/norm.py).
    """
    mutable = [] if freeze_norms else ["batch_stats"]

    def grad_fn(params: Any, batch_stats: Any, batch: Mapping[str, jax.Array], key: jax.Array) -> Any:
        # The loss, with the sums and the batch statistics as auxiliary results.
        def mean_loss(params: Any) -> tuple[jax.Array, tuple[Any, Any]]:
            logits, updates = network.apply(
                {"params": layer_rates.freeze(params), "batch_stats": batch_stats},
                clip_input(batch["clips"]),
                train=True,
                rngs={"dropout": key},
                mutable=mutable,
            )
            target = soft_target(batch, num_classes=logits.shape[-1])
            losses = cross_entropy(logits, target, label_smoothing=label_smoothing)
            if class_weights:
                losses = losses * (target * jnp.asarray(class_weights, jnp.float32)).sum(-1)
            right = metrics.top_k_correct(clip_probs(logits).probs, target.argmax(-1), k=1)
            sums = {"loss": metrics.masked_sum(losses), "clip@1": metrics.masked_sum(right)}
            return losses.mean(), (sums, updates.get("batch_stats", batch_stats))

        grads, (sums, batch_stats_after) = jax.grad(mean_loss, has_aux=True)(params)
        return grads, sums, batch_stats_after

    return grad_fn


def check_frozen_norms(network: nn.Module, variables: Any, clips: jax.ShapeDtypeStruct) -> None:
    """Raises an InputError if a network has no batch norms, or if they cannot keep their statistics in training.

    Args:
      network: network that maps clips to logits.
      variables: variables of the network, or their shapes.
      clips: shape of normalised clips `(b t h w c)`.
    """
    if not variables.get("batch_stats"):
        raise InputError("config.freeze_norms: the network has no batch norms; set freeze_norms to False")
    key = jax.random.key(0)
    try:
        jax.eval_shape(
            lambda variables, clips: network.apply(variables, clips, train=True, rngs={"dropout": key}, mutable=[]),
            variables,
            clips,
        )
    except flax.errors.ModifyScopeVariableError as error:
        raise InputError(
            "config.freeze_norms: the network changes its batch statistics in training, even if they are not mutable; "
            "use vjax.layers.norm.BatchNorm, or set freeze_norms to False"
        ) from error


def soft_target(batch: Mapping[str, jax.Array], *, num_classes: int) -> jax.Array:
    """Returns the share of each class in each clip, `(b k)`: one class has all of it, or two if clips are mixed."""
    target = jax.nn.one_hot(batch["label"], num_classes)
    if "share" not in batch:
        return target
    share = batch["share"][:, None]
    return share * target + (1 - share) * jax.nn.one_hot(batch["other_label"], num_classes)


class CompiledStep(NamedTuple):
    """A train step, compiled for one mesh and one batch shape.

    Attributes:
      run: compiled function `(state, batch) -> (state, sums)`; it donates the buffers of the given state.
      compile_s: compilation time in seconds.
      flops: floating-point operations of a step on each device, as XLA counts them; None if it does not count them.
    """

    run: Callable[..., tuple[TrainState, dict[str, metrics.Sum]]]
    compile_s: float
    flops: float | None


def compile_step(
    step: Callable[..., Any], state: TrainState, batch: Any, mesh: Mesh, *, accumulate: int = 1
) -> CompiledStep:
    """Compiles `step(state, batch)` ahead of time; the batch is split over the mesh, the state keeps its shardings.

    The gradient is that of the global batch: XLA sums it over the devices, and batch norms see the rows of all devices.
    The step processes a batch in `accumulate` parts, in a loop whose operations XLA counts only once.
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
