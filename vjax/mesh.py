"""The device mesh: how batches and states are sharded over the devices, and how results reach the host."""

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
    """Returns a mesh with one axis, `data`, over the given devices; the default is all devices."""
    devices = jax.devices() if devices is None else devices
    # Auto, not the default Explicit: linen's Dropout fails under explicit axes.
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """Returns the sharding that keeps a full copy on every device, e.g. of metrics and probabilities."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a batch: its rows are split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


class Layout(NamedTuple):
    """How a train state is placed on the devices.

    Attributes:
      shardings: function from a tree of arrays or shapes to a tree of `NamedSharding`.
      gather: function that prepares parameters for a step: a full copy on every device.
      scatter: function that prepares gradients for the optimizer: sharded as the parameters are kept.
    """

    shardings: Callable[[Any], Any]
    gather: Callable[[Any], Any]
    scatter: Callable[[Any], Any]


_SMALLEST_SPLIT = 1024  # elements; smaller arrays are not sharded


def data_parallel(mesh: Mesh | AbstractMesh) -> Layout:
    """Returns the layout that keeps a full copy of the state on every device."""
    whole = replicated(mesh)
    return Layout(lambda tree: jax.tree.map(lambda _: whole, tree), _as_it_is, _as_it_is)


def fully_sharded(mesh: Mesh | AbstractMesh) -> Layout:
    """Returns the layout (FSDP) that keeps a part of every large array on each device.

    An array is split along the largest axis that the number of devices divides. Parameters are gathered at the start of
    a step; the optimizer state is never gathered.

    Source: Rajbhandari et al. 2020, "ZeRO: memory optimizations toward training trillion parameter models". Deviation:
    a step keeps the gathered parameters until its end, and the full gradient until it is summed over the devices.
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
    """Returns the bytes that a tree of arrays takes on one device."""
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))


def round_up(batch_size: int, mesh: Mesh) -> int:
    """Returns the batch size, rounded up to a multiple of the number of devices."""
    return -(-batch_size // mesh.size) * mesh.size


def put_batch(batch: Any, mesh: Mesh) -> Any:
    """Returns global arrays on the devices, made from each process's rows of a batch (a tree of arrays)."""
    sharding = split(mesh)
    return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(sharding, np.asarray(rows)), batch)


def first_process_first(make: Callable[[], T]) -> T:
    """Calls `make()` in the first process, then in the others, and returns its result in each.

    So files that the first process writes (a generated dataset, a work directory) exist when the others read them.

    Raises:
      InputError: `make()` raised one in the first process; every process then raises one.
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
        raise failed or InputError("process 0 failed; its log gives the reason")
    return made if first else make()  # pyright: ignore[reportReturnType]


def in_any_process(flag: bool) -> bool:
    """Returns whether a flag is True in at least one process; all processes must call this."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def gather(batch: Any, mesh: Mesh) -> Any:
    """Returns global arrays, with the rows of all processes, as host arrays in every process."""
    return jax.tree.map(np.asarray, jax.jit(lambda tree: tree, out_shardings=replicated(mesh))(batch))
