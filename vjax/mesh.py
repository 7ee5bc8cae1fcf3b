"""Devices: one mesh over all of them, batches split along it, results back on the host."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Returns a mesh with the one axis `data` over the given devices, all of them if none are given."""
    devices = jax.devices() if devices is None else devices
    # Auto, not the default Explicit: linen's Dropout fails under explicit axes.
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device holds whole: parameters, metrics, answers."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a batch: rows over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put_batch(batch: Any, mesh: Mesh) -> Any:
    """Returns this process's rows of a batch, a tree of arrays, as its part of global arrays."""
    sharding = split(mesh)
    return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(sharding, np.asarray(rows)), batch)


def gather(batch: Any, mesh: Mesh) -> Any:
    """Returns every process's rows of global arrays, on the host of every process."""
    return jax.tree.map(np.asarray, jax.jit(lambda tree: tree, out_shardings=replicated(mesh))(batch))
