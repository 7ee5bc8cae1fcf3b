"""The cost of a training step on each device: bytes of memory and bytes sent, computed from shapes alone.

The network, the optimizer and the layout are those of training. The number of devices is free; none has to exist.
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
    """Bytes on one device at the memory peak of a step.

    Attributes:
      state: parameters, optimizer state, batch statistics and averaged parameters, as the layout keeps them.
      gathered: full copies of the parameters that "fsdp" splits.
      gradients: gradients of all parameters.
      activations: arrays kept for the backward pass.
      scratch: gradient of the largest of these arrays.
      clips: this device's rows of two uint8 batches, the current one and the next.
    """

    state: int
    gathered: int
    gradients: int
    activations: int
    scratch: int
    clips: int

    @property
    def total(self) -> int:
        """The sum of all fields."""
        return sum(self)


class Traffic(NamedTuple):
    """Bytes of the arrays that the devices exchange in one step.

    Attributes:
      all_reduce: gradients (under "fsdp" a reduce-scatter if the platform has it), sums of the batch norms, loss and
        accuracy.
      all_gather: parameters under "fsdp".
      num_devices: number of devices that exchange the arrays.
    """

    all_reduce: int
    all_gather: int
    num_devices: int

    @property
    def sent(self) -> int:
        """Bytes that each device sends in a ring. An all-reduce goes around twice, and each round skips one part."""
        return round((2 * self.all_reduce + self.all_gather) * (self.num_devices - 1) / self.num_devices)


class StepCost(NamedTuple):
    """The cost of one training step.

    Attributes:
      parameters: number of parameters of the network.
      multiply_adds: multiply-adds of one clip's forward pass; a step needs about three times as many for a clip.
      memory: memory on each device.
      traffic: traffic of each device.
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
    """Returns the cost of a step for a global batch of clips.

    Not counted are the scratch memory inside single layers and the tiles of the CPU's Winograd forms, whose kernel
    gradients are summed over the devices before they are transformed back to 3 x 3 x 3.

    Args:
      network: network that maps clips to logits.
      optimizer: optimizer, whose state is counted.
      clip_shape: shape `(t h w c)` of one clip.
      batch_size: clips in a step, over all devices; a multiple of `num_devices * accumulate`.
      num_devices: number of devices of the mesh.
      sharding: name of a layout in `mesh.LAYOUTS`.
      accumulate: number of parts of the batch, which are processed one after the other.
      keep_ema: whether the state has averaged parameters.
    """
    # What one device keeps of the state, from shapes alone.
    layout = LAYOUTS[sharding](AbstractMesh((num_devices,), ("data",), axis_types=(AxisType.Auto,)))
    fresh = functools.partial(init_state, network, optimizer, clip_shape=clip_shape, keep_ema=keep_ema)
    state = jax.eval_shape(lambda key: fresh(key=key), jax.random.key(0))
    kept = jax.tree.map(lambda leaf, where: _bytes(leaf, where.shard_shape(leaf.shape)), state, layout.shardings(state))
    params, statistics = _total(state.params), _total(state.batch_stats)
    # The parameters that are split over the devices, and that a step gathers.
    is_split = jax.tree.map(lambda leaf, part: part < _bytes(leaf, leaf.shape), state.params, kept.params)
    gathered = sum(
        _bytes(leaf, leaf.shape)
        for leaf, split in zip(*map(jax.tree.leaves, (state.params, is_split)), strict=True)
        if split
    )
    # Activations: the bytes of one clip, times the clips that a device processes at once.
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
            # Each part reduces its own gradients and, for each channel of a batch norm, the two sums that become its
            # statistics. The sums of a batch norm's backward pass are gradients, and already counted.
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
    """Returns the bytes of the arrays in each kind of collective, from the text of a compiled program.

    The body of a loop is counted once, no matter how often it runs.

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
