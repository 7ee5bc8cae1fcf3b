"""Devices: one mesh over all of them, batches and states laid out on it, results back on the host."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from vjax.errors import InputError

T = TypeVar("T")


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Returns a mesh with the one axis `data` over the given devices, all of them if none are given."""
    devices = jax.devices() if devices is None else devices
    # Auto, not the default Explicit: linen's Dropout fails under explicit axes.
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """Returns the sharding of what every device holds whole: parameters, metrics, probabilities."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a batch: rows over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


class Layout(NamedTuple):
    """How a train state lies on the devices, and what a step does about it.

    Attributes:
      shardings: of a tree of arrays or shapes: a tree of `NamedSharding`.
      gather: parameters as a step computes with them: whole on every device.
      scatter: gradients as the optimizer takes them: laid out as the parameters are kept.
    """

    shardings: Callable[[Any], Any]
    gather: Callable[[Any], Any]
    scatter: Callable[[Any], Any]


_SMALLEST_SPLIT = 1024  # numbers in an array; smaller ones are kept whole


def data_parallel(mesh: Mesh | AbstractMesh) -> Layout:
    """Returns the layout that keeps the whole state on every device."""
    whole = replicated(mesh)
    return Layout(lambda tree: jax.tree.map(lambda _: whole, tree), _as_it_is, _as_it_is)


def fully_sharded(mesh: Mesh | AbstractMesh) -> Layout:
    """Returns the layout (FSDP) that keeps a part of every large array on each device.

    An array is cut along its largest axis that the devices divide; parameters are gathered when a step begins, and
    the optimizer's state is never whole.

    Source: Rajbhandari et al. 2020, "ZeRO: memory optimizations toward training trillion parameter models". Deviation:
    a step holds the parameters it has gathered to its end, and its gradient until that is added up over the devices.
    """

    def sharding(leaf: Any) -> NamedSharding:
        axes = [axis for axis, size in enumerate(leaf.shape) if size % mesh.size == 0]
        if not axes or math.prod(leaf.shape) < _SMALLEST_SPLIT:
            return replicated(mesh)
        largest = max(axes, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * largest, "data"))

    def shardings(tree: Any) -> Any:
        return jax.tree.map(sharding, tree)

    def gather(params: Any) -> Any:
        return jax.lax.with_sharding_constraint(params, replicated(mesh))

    def scatter(gradient: Any) -> Any:
        return jax.lax.with_sharding_constraint(gradient, shardings(gradient))

    return Layout(shardings, gather, scatter)


def _as_it_is(tree: Any) -> Any:
    return tree


LAYOUTS: dict[str, Callable[[Mesh | AbstractMesh], Layout]] = {"data": data_parallel, "fsdp": fully_sharded}


def device_bytes(tree: Any) -> int:
    """Returns the bytes that one device keeps of a tree of arrays."""
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))


def round_up(batch_size: int, mesh: Mesh) -> int:
    """Returns the smallest batch of that size or more which the devices divide."""
    return -(-batch_size // mesh.size) * mesh.size


def put_batch(batch: Any, mesh: Mesh) -> Any:
    """Returns this process's rows of a batch, a tree of arrays, as its part of global arrays."""
    sharding = split(mesh)
    return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(sharding, np.asarray(rows)), batch)


def first_process_first(make: Callable[[], T]) -> T:
    """Returns what `make()` gives in every process; the first one has it before the others begin.

    What it writes (a made data set, a work directory's files) is then there for them to read.

    Raises:
      InputError: `make()` has raised one in the first process; then it does so in all of them.
    """
    if jax.process_count() == 1:
        return make()
    first, made, failed = jax.process_index() == 0, None, None
    if first:
        try:
            made = make()
        except InputError as error:
            failed = error
    if in_any_process(failed is not None):
        raise failed or InputError("process 0 cannot go on; its log says why")
    return made if first else make()  # pyright: ignore[reportReturnType]


def in_any_process(flag: bool) -> bool:
    """Returns whether a flag is True in at least one process; all must ask."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def gather(batch: Any, mesh: Mesh) -> Any:
    """Returns every process's rows of global arrays, on the host of every process."""
    return jax.tree.map(np.asarray, jax.jit(lambda tree: tree, out_shardings=replicated(mesh))(batch))
