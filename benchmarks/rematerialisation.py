"""Measures memory and seconds of a training step with and without `remat`.

    python benchmarks/rematerialisation.py [--case NAME ...] [--rounds 9]

"Kept" are the residuals: the memory that the forward pass hands to the backward pass, computed from shapes alone.
"Step" in MB is the memory that XLA plans for a complete step, without its arguments and results. All steps take turns
in one process on the device that JAX finds; the table shows medians, and the minimum as "least". On CPU, steps are also
compiled without XLA's pass `cse_barrier_expander`: that pass removes the barriers between the two computations of a
value, and XLA then merges them again.
"""

import argparse
import dataclasses
import functools
import math
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from about import commit, machine, versions

from vjax import models
from vjax.evaluation.infer import cross_entropy
from vjax.mesh import data_parallel, make_mesh
from vjax.runtime.memory import keep_freed_memory
from vjax.spec import Choice
from vjax.training.optim import create_optimizer
from vjax.training.step import init_state, make_grad_fn, train_step
from vjax.training.wrappers import checked_finite, sharded

NUM_CLASSES = 10
KEEP_BARRIERS = {"xla_disable_hlo_passes": "cse_barrier_expander"}


@dataclasses.dataclass(frozen=True)
class Case:
    """A backbone of slow fusion, the shape `(t h w c)` of its clips, and the batch size."""

    backbone: dict[str, Any]
    clip_shape: tuple[int, ...]
    batch_size: int


CASES = {
    "small 3D CNN": Case({"name": "small", "widths": (32, 64, 128)}, (16, 64, 64, 3), 4),
    "R3D-18": Case({"name": "resnet18"}, (16, 112, 112, 3), 1),
}


class Step:
    """A compiled training step and its state."""

    def __init__(self, case: Case, *, remat: bool, options: dict[str, Any] | None):
        # The initial state.
        network = models.create("slow_fusion", NUM_CLASSES, backbone=case.backbone | {"remat": remat})
        optimizer, _ = create_optimizer(Choice("sgd", learning_rate=0.01), num_steps=1000)
        self.state = init_state(network, optimizer, key=jax.random.key(0), clip_shape=case.clip_shape)

        # A random batch.
        rng = np.random.default_rng(0)
        self.batch = jax.device_put(
            {
                "clips": rng.integers(0, 256, (case.batch_size, *case.clip_shape), np.uint8),
                "label": rng.integers(0, NUM_CLASSES, case.batch_size).astype(np.int32),
            }
        )

        # The compiled step.
        grad_fn = sharded(make_grad_fn(network, label_smoothing=0.0), data_parallel(make_mesh()))
        step = functools.partial(train_step, grad_fn=grad_fn, optimizer=optimizer, key=jax.random.key(1))
        step = checked_finite(step, skip=False)
        lowered = jax.jit(step, donate_argnums=0).lower(self.state, self.batch)
        self.compiled: Any = lowered.compile(compiler_options=options)
        # Two batches minus one: this leaves out parameters, which do not grow with the batch.
        self.residuals_mb = (_residuals(network, case, 2) - _residuals(network, case, 1)) / 2**20
        memory = self.compiled.memory_analysis()
        self.step_mb = memory.temp_size_in_bytes / 2**20 if memory else math.nan
        self.seconds: list[float] = []

    def take(self) -> None:
        """Takes a step and records its seconds."""
        started = time.perf_counter()
        self.state, _ = jax.block_until_ready(self.compiled(self.state, self.batch))
        self.seconds.append(time.perf_counter() - started)


def _residuals(network: Any, case: Case, num_batches: int) -> int:
    """Returns the bytes of the residuals that the gradient of `num_batches` batches at once needs."""
    num_clips = num_batches * case.batch_size
    target = jnp.zeros((num_clips, NUM_CLASSES))

    def forward(key: jax.Array, clips: jax.Array) -> Any:
        variables = network.init(key, clips, train=False)

        def loss(params: Any) -> jax.Array:
            logits, _ = network.apply(variables | {"params": params}, clips, train=True, mutable=["batch_stats"])
            return cross_entropy(logits, target, label_smoothing=0.0).mean()

        return jax.vjp(loss, variables["params"])[1]

    clips = jax.ShapeDtypeStruct((num_clips, *case.clip_shape), jnp.float32)
    leaves = jax.tree.leaves(jax.eval_shape(forward, jax.random.key(0), clips))
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def main() -> None:
    """Runs the measurements and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="turns of each step (default: 9)")
    parser.add_argument("--case", action="append", choices=CASES, help="network to measure; may be given several times")
    args = parser.parse_args()
    keep_freed_memory()  # as vjax's commands do
    device = jax.devices()[0]
    print(f"{device.device_kind}; {machine()}; {versions(('jax', 'jaxlib', 'flax'))}; commit {commit()}\n")
    print("| network | barriers | remat | residuals, MB | step, MB | step, ms | least |")
    print("|" + " --- |" * 3 + " ---: |" * 4)
    choices = [("as XLA does", None)] + ([("left in", KEEP_BARRIERS)] if device.platform == "cpu" else [])
    for name in args.case or CASES:
        steps = {
            (words, remat): Step(CASES[name], remat=remat, options=options)
            for words, options in choices
            for remat in (False, True)
        }
        for number in range(args.rounds + 1):
            for step in steps.values():
                step.take()
                if not number:  # the first round is a warm-up
                    step.seconds.clear()
        for (words, remat), step in steps.items():
            print(
                f"| {name} | {words} | {'yes' if remat else 'no'} | {step.residuals_mb:.0f} | {step.step_mb:.0f} "
                f"| {1e3 * statistics.median(step.seconds):.0f} | {1e3 * min(step.seconds):.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
