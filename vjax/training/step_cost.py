"""What a training step costs each of many devices: bytes of memory and bytes on the wire, by the shapes alone.

The same network, optimizer and layout as in training, on as many devices as one likes to think of; none is needed.
"""

import functools
import math
import re
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import optax
from jax.sharding import AbstractMesh, AxisType

from vjax.mesh import LAYOUTS
from vjax.models.cost import count_parameters, multiply_adds, residual_bytes
from vjax.training.step import init_state


class Memory(NamedTuple):
    """Bytes on one device at the fullest moment of a step.

    Attributes:
      state: parameters, optimizer state, statistics and averages, as the layout keeps them.
      gathered: parameters whole again, under "fsdp".
      gradients: of all parameters.
      activations: kept for the backward pass.
      scratch: the gradient of the largest of them.
      clips: this device's rows of the batch, uint8; one batch in work and one waiting.
    """

    state: int
    gathered: int
    gradients: int
    activations: int
    scratch: int
    clips: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self)


class Traffic(NamedTuple):
    """Bytes of the arrays that the devices exchange in one step.

    Attributes:
      all_reduce: gradients (under "fsdp" a reduce-scatter where the platform has it), sums of the batch norms,
        loss and accuracy.
      all_gather: parameters under "fsdp".
      num_devices: that take part.
    """

    all_reduce: int
    all_gather: int
    num_devices: int

    @property
    def sent(self) -> int:
        """What each device sends in a ring: an all-reduce goes around twice, less one part each time."""
        return round((2 * self.all_reduce + self.all_gather) * (self.num_devices - 1) / self.num_devices)


class StepCost(NamedTuple):
    """What one training step costs.

    Attributes:
      parameters: of the network.
      multiply_adds: of a clip's forward pass; a step takes about three times as many.
      memory: of each device.
      traffic: of each device.
    """

    parameters: int
    multiply_adds: int
    memory: Memory
    traffic: Traffic


_SUMS_BYTES = 8  # loss and clip@1, one float each


def step_cost(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    clip_shape: tuple[int, ...],
    batch_size: int,
    num_devices: int,
    sharding: str,
    accumulate: int = 1,
    keep_ema: bool = False,
) -> StepCost:
    """Returns the cost of a step for a global batch of clips `(t h w c)`.

    Not in it are what single layers work in, and the tiles of the CPU's Winograd forms, whose kernel gradients are
    added up over the devices before they are brought back to 3 x 3 x 3.

    Args:
      network: maps clips to logits.
      optimizer: has its own state.
      clip_shape: of one clip.
      batch_size: clips in a step, over all devices; a multiple of `num_devices * accumulate`.
      num_devices: of the mesh.
      sharding: a name in `mesh.LAYOUTS`.
      accumulate: parts of the batch that go through the network one after the other.
      keep_ema: whether the state has averaged parameters.
    """
    layout = LAYOUTS[sharding](AbstractMesh((num_devices,), ("data",), axis_types=(AxisType.Auto,)))
    fresh = functools.partial(init_state, network, optimizer, clip_shape=clip_shape, keep_ema=keep_ema)
    state = jax.eval_shape(lambda key: fresh(key=key), jax.random.key(0))
    kept = jax.tree.map(lambda leaf, where: _bytes(leaf, where.shard_shape(leaf.shape)), state, layout.shardings(state))
    params, statistics = _total(state.params), _total(state.batch_stats)
    is_split = jax.tree.map(lambda leaf, part: part < _bytes(leaf, leaf.shape), state.params, kept.params)
    gathered = sum(
        _bytes(leaf, leaf.shape)
        for leaf, split in zip(*map(jax.tree.leaves, (state.params, is_split)), strict=True)
        if split
    )
    rows, each = batch_size // num_devices, residual_bytes(network, clip_shape)
    alone = num_devices == 1
    return StepCost(
        count_parameters(state.params),
        multiply_adds(network, clip_shape),
        Memory(
            state=sum(jax.tree.leaves(kept)),
            gathered=gathered,
            gradients=params,
            activations=rows // accumulate * each.total,
            scratch=rows // accumulate * each.largest,
            clips=2 * rows * math.prod(clip_shape),
        ),
        Traffic(
            # Each part's gradient by itself, and the two sums of a channel that a batch norm makes and keeps; its
            # sums on the way back are gradients.
            all_reduce=0 if alone else accumulate * (params + statistics + _SUMS_BYTES),
            all_gather=gathered,
            num_devices=num_devices,
        ),
    )


def _bytes(leaf: Any, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * leaf.dtype.itemsize


def _total(tree: Any) -> int:
    return sum(_bytes(leaf, leaf.shape) for leaf in jax.tree.leaves(tree))


_COLLECTIVE = re.compile(
    r"= (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|collective-broadcast)(?:-start)?\("
)
_ARRAY = re.compile(r"\b(?:pred|[a-z]+(\d+))\[([\d,]*)\]")


def collective_bytes(hlo: str) -> dict[str, int]:
    """Returns the bytes of the arrays in each kind of collective of a compiled program's text.

    A loop's body is counted once, however often it runs.

    >>> collective_bytes("%r = (f32[2,3]{1,0}, bf16[]) all-reduce(%a, %b), channel_id=1")
    {'all-reduce': 26}
    """
    found: dict[str, int] = {}
    for arrays, kind in _COLLECTIVE.findall(hlo):
        num_bytes = sum(
            int(bits or 8) // 8 * math.prod(map(int, filter(None, sizes.split(","))))
            for bits, sizes in _ARRAY.findall(arrays)
        )
        found[kind] = found.get(kind, 0) + num_bytes
    return found
