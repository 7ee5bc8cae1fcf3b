"""Compares the cost model of a training step on several devices with what XLA plans.

    python benchmarks/scaling.py [--case NAME ...] [--out FILE]

Programs are compiled for 1, 2, 4 and 8 simulated devices and not run, with convolutions in the form that GPUs and TPUs
use. "Arguments" are the state and the batch. "Temporary" is the memory that XLA plans in addition. "Exchanged" are the
collective bytes: the arrays of every collective in the compiled program. Each cell has the value of the cost model
(vjax/training/step_cost.py), then that of XLA.
"""

import argparse
import dataclasses
import functools
import json
import os
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax
import jax.numpy as jnp
from about import commit, machine, versions

from vjax import mesh as meshes
from vjax import models
from vjax.spec import Choice
from vjax.training.optim import create_optimizer
from vjax.training.step import compile_step, init_state, make_grad_fn, train_step
from vjax.training.step_cost import collective_bytes, step_cost
from vjax.training.wrappers import checked_finite, sharded

NUM_CLASSES = 400
MB = 10**6


@dataclasses.dataclass(frozen=True)
class Case:
    """A backbone of slow fusion, the shape `(t h w c)` of its clips, the global batch size, and what to compare."""

    backbone: dict[str, Any]
    clip_shape: tuple[int, ...]
    batch_size: int
    num_devices: tuple[int, ...] = (1, 2, 4, 8)
    shardings: tuple[str, ...] = ("data", "fsdp")


SMALL = {"name": "small", "widths": (32, 64, 128)}
CASES = {
    "R3D-18": Case({"name": "resnet18"}, (16, 112, 112, 3), 16),
    "R3D-18, group norm": Case({"name": "resnet18", "norm": "group"}, (16, 112, 112, 3), 16, shardings=("data",)),
    "small": Case(SMALL, (16, 64, 64, 3), 16),
    "small, 64 clips": Case(SMALL, (16, 64, 64, 3), 64, (4,), ("data",)),
    "small, 32 frames": Case(SMALL, (32, 64, 64, 3), 16, (4,), ("data",)),
    "small, 128 x 128": Case(SMALL, (16, 128, 128, 3), 16, (4,), ("data",)),
}


def compare(case: Case, num_devices: int, sharding: str) -> dict[str, Any]:
    """Returns bytes by name: from the cost model, and from the program that XLA compiles."""
    # Shapes and shardings of the state and the batch.
    network = models.create("slow_fusion", NUM_CLASSES, backbone=case.backbone)
    optimizer, _ = create_optimizer(Choice("adamw", learning_rate=1e-3), num_steps=1000)
    mesh = meshes.make_mesh(jax.devices()[:num_devices])
    layout = meshes.LAYOUTS[sharding](mesh)
    fresh = functools.partial(init_state, network, optimizer, clip_shape=case.clip_shape)
    shapes = jax.eval_shape(lambda key: fresh(key=key), jax.random.key(0))
    state = jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
        shapes,
        layout.shardings(shapes),
    )
    batch = {
        "clips": jax.ShapeDtypeStruct((case.batch_size, *case.clip_shape), jnp.uint8),
        "label": jax.ShapeDtypeStruct((case.batch_size,), jnp.int32),
    }

    # XLA's plan.
    grad_fn = sharded(make_grad_fn(network, label_smoothing=0.1), layout)
    step = functools.partial(train_step, grad_fn=grad_fn, optimizer=optimizer, key=jax.random.key(1))
    step = checked_finite(step, skip=False)
    compiled: Any = compile_step(step, state, batch, mesh).run
    planned = compiled.memory_analysis()

    # The cost model.
    model = step_cost(
        network,
        optimizer,
        clip_shape=case.clip_shape,
        batch_size=case.batch_size,
        num_devices=num_devices,
        sharding=sharding,
    )
    memory, traffic = model.memory, model.traffic
    return {
        "arguments": [memory.state + memory.clips // 2, planned.argument_size_in_bytes],
        "temporary": [sum(memory) - memory.state - memory.clips, planned.temp_size_in_bytes],
        "collectives": [traffic.all_reduce + traffic.all_gather, sum(collective_bytes(compiled.as_text()).values())],
    }


def main() -> None:
    """Prints a table of all cases, or of those given by `--case`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=CASES, help="network to compare; may be given several times")
    parser.add_argument("--out", type=Path, help="file to which the rows are appended as JSON lines")
    args = parser.parse_args()

    # All platforms use XLA's own convolution here, because the CPU's forms exchange tiles of kernel gradients. Nothing
    # else is chosen by platform.
    jax.lax.platform_dependent = lambda *arrays, default, **_: default(*arrays)

    # The table.
    about = {"machine": machine(), "versions": versions(("jax", "jaxlib", "flax")), "commit": commit()}
    print(f"{about['machine']}; {about['versions']}; commit {about['commit']}; MB, model / XLA\n")
    print("| network | sharding | devices | arguments | temporary | ratio | collectives |")
    print("| --- | --- " + "| ---: " * 5 + "|")
    for name in args.case or CASES:
        case = CASES[name]
        for sharding in case.shardings:
            for num_devices in case.num_devices:
                found = compare(case, num_devices, sharding)
                cells = {key: f"{model / MB:.1f} / {xla / MB:.1f}" for key, (model, xla) in found.items()}
                ratio = found["temporary"][0] / found["temporary"][1]
                print(
                    f"| {name} | {sharding} | {num_devices} | {cells['arguments']} | {cells['temporary']} "
                    f"| {ratio:.2f} | {cells['collectives']} |",
                    flush=True,
                )
                if args.out:
                    line = {"case": name, "sharding": sharding, "num_devices": num_devices, **found, **about}
                    with args.out.open("a") as stream:
                        stream.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
