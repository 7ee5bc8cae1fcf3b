"""The gradient that a compiled train step computed, and the one that a plain float64 network has."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import plain_networks
from flax.traverse_util import flatten_dict
from random_variables import random_variables

from vjax import mesh as meshes
from vjax import models
from vjax.ops.clip_input import ClipInput
from vjax.training.optim import create_optimizer
from vjax.training.step import TrainState, compile_step, make_grad_fn, train_step
from vjax.training.wrappers import accumulated, checked_finite, sharded

ADAMW = {"name": "adamw", "learning_rate": 5e-3, "clip_norm": 1.0}  # as all configs have it
NUM_CLASSES, LABEL_SMOOTHING = 10, 0.1


@dataclasses.dataclass(frozen=True)
class Case:
    """A network of the table, its backbone without the norm, clips `(t h w c)` and a batch of them."""

    name: str
    backbone: dict
    clip_shape: tuple
    batch_size: int
    norm: str = "batch"
    remat: bool = False
    accumulate: int = 1
    dtype: str = "float32"
    num_devices: int = 1
    sharding: str = "data"
    kind: str = "rgb"

    def __str__(self):
        backbone = ",".join(str(value) for value in self.backbone.values()).replace(" ", "")
        return f"{self.name}-{backbone}-{self.norm}-{self.kind}-{self.batch_size}x{'x'.join(map(str, self.clip_shape))}"

    @property
    def network(self):
        backbone = {**self.backbone, "norm": self.norm, "remat": self.remat}
        return models.create(self.name, NUM_CLASSES, backbone=backbone, dtype=self.dtype)

    @property
    def batch(self):
        """Noise; in every other clip, a frame of black around it, where a pool's windows have equal elements."""
        rng = np.random.default_rng(0)
        clips = rng.integers(0, 256, (self.batch_size, *self.clip_shape), np.uint8)
        height, width = self.clip_shape[1] // 4, self.clip_shape[2] // 4
        clips[::2, :, :height] = clips[::2, :, :, :width] = 0
        return {"clips": clips, "label": rng.integers(0, NUM_CLASSES, self.batch_size).astype(np.int32)}


def variables(case):
    """Parameters and statistics that every computation of a case starts from."""
    network = dataclasses.replace(case, remat=False).network
    drawn = random_variables(network, case.clip_shape)
    return drawn["params"], drawn.get("batch_stats", {})


def gradient_of_step(case):
    """The gradient out of the program that training runs, from the optimizer's state after its first step."""
    params, batch_stats = variables(case)
    mesh = meshes.make_mesh(jax.devices()[: case.num_devices])
    layout = meshes.LAYOUTS[case.sharding](mesh)
    optimizer, _ = create_optimizer(ADAMW, num_steps=1000)
    grad_fn = make_grad_fn(case.network, clip_input=ClipInput(case.kind), label_smoothing=LABEL_SMOOTHING)
    grad_fn = sharded(accumulated(grad_fn, case.accumulate), layout)
    step = checked_finite(
        functools.partial(train_step, grad_fn=grad_fn, optimizer=optimizer, key=jax.random.key(0)), skip=False
    )

    def start():
        return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, optimizer.init(params), {})

    state = jax.device_put(jax.jit(start)(), layout.shardings(jax.eval_shape(start)))
    batch = meshes.put_batch(case.batch, mesh)
    after, sums = compile_step(step, state, batch, mesh).run(state, batch)
    # After one step, Adam's first moment is a tenth of the gradient, clipped to a norm of 1.
    factor = 10 * max(1.0, float(sums["grad_norm"].total))
    return jax.tree.map(lambda leaf: factor * np.asarray(leaf, np.float64), optax.tree.get(after.opt_state, "mu"))


@functools.lru_cache(maxsize=4)
def plain_gradient_of_shape(name, backbone, clip_shape, batch_size, norm, accumulate, kind):
    """The plain gradient, computed once for all ways of running a step."""
    case = Case(name, dict(backbone), clip_shape, batch_size, norm=norm, accumulate=accumulate, kind=kind)
    return plain_gradient(case)


def plain_input(case):
    """What the network sees of the batch, in float64."""
    normalization = ClipInput().normalization
    frames = (case.batch["clips"] / 255 - normalization.mean) / normalization.std
    if case.kind == "difference":
        change = np.diff(frames, axis=1)
        return np.concatenate([change[:, :1], change], axis=1)
    return frames - np.median(frames, axis=1, keepdims=True) if case.kind == "foreground" else frames


def plain_gradient(case, *, dtype=np.float64, pool=None):
    """The gradient of the same network, written plainly."""
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), variables(case)[0])
        clips = plain_input(case)
        smooth = optax.smooth_labels(np.eye(NUM_CLASSES)[case.batch["label"]], LABEL_SMOOTHING)
        options = {"name": case.name, "norm": case.norm, "pool": pool}
        if case.backbone["name"] == "small":
            depth, num_stages = case.backbone.get("depth", 1), len(case.backbone["widths"])
            options["depths"] = (depth,) * num_stages if isinstance(depth, int) else depth
            options["stride"] = case.backbone.get("stride", 1)
        else:
            options["factored"] = case.backbone.get("factored", False) and case.name == "slow_fusion"
        gradient = jax.jit(jax.grad(functools.partial(plain_networks.loss, **options)))
        # Batch norms see a part at a time: every so many rows, as the step takes them.
        parts = [
            gradient(params, *(jnp.asarray(rows[part :: case.accumulate], dtype) for rows in (clips, smooth)))
            for part in range(case.accumulate)
        ]
        return jax.tree.map(lambda *leaves: np.mean([np.asarray(leaf, np.float64) for leaf in leaves], 0), *parts)


def errors_of_step(case):
    """How far the gradient of a case's step is from its plain one."""
    backbone = tuple(case.backbone.items())
    plain = plain_gradient_of_shape(
        case.name, backbone, case.clip_shape, case.batch_size, case.norm, case.accumulate, case.kind
    )
    return errors(gradient_of_step(case), plain)


def errors(found, expected):
    """By parameter, and under "" for all of them: the norm of the difference over the norm of what is expected."""
    found, expected = flatten_dict(found, sep="/"), flatten_dict(expected, sep="/")
    assert found.keys() == expected.keys()
    off = {name: np.linalg.norm(found[name] - expected[name]) for name in expected}
    size = {name: np.linalg.norm(expected[name]) for name in expected}
    whole = np.linalg.norm(list(off.values())) / np.linalg.norm(list(size.values()))
    return {"": whole} | {name: off[name] / size[name] for name in expected if size[name] > 0}
