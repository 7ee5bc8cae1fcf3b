"""Batches on their way to the devices: read ahead by a thread, never waited for without end."""

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from vjax import mesh as meshes
from vjax.errors import InputError


class DeviceBatch(NamedTuple):
    """A batch.

    Attributes:
      rows: on the devices, global arrays.
      position: `(b)`, which videos of the training split this process's rows come from.
    """

    rows: Any
    position: np.ndarray


class Prefetcher:
    """Puts host batches on the devices, and knows how long the loop waited for them."""

    def __init__(self, batches: Iterator[dict[str, np.ndarray]], mesh: Mesh, *, timeout_s: float):
        """Starts to read.

        Args:
          batches: host batches with a `position` beside the rows.
          mesh: of the devices.
          timeout_s: how long a batch may take.
        """
        self._mesh, self._timeout_s = mesh, timeout_s
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=1)
        self._closed = threading.Event()
        self.waited_s = 0.0
        # A daemon: a reader that is stuck must not keep the process alive.
        threading.Thread(target=self._read, args=(batches,), daemon=True, name="prefetcher").start()

    def next(self) -> DeviceBatch:
        """Returns the next batch.

        Raises:
          InputError: none came in time.
        """
        started = time.perf_counter()
        try:
            found = self._queue.get(timeout=self._timeout_s)
        except queue.Empty:
            raise InputError(
                f"no batch came for {self._timeout_s:g} s: reading is stuck, or a worker has died. The same command "
                "goes on from the newest checkpoint; --config.num_workers=0 reads without workers, and "
                "--config.data_timeout_s=SECONDS waits longer"
            ) from None
        self.waited_s += time.perf_counter() - started
        if isinstance(found, BaseException):
            raise found
        position = found.pop("position")
        return DeviceBatch(meshes.put_batch(found, self._mesh), position)

    def close(self) -> None:
        """Stops reading."""
        self._closed.set()

    def _read(self, batches: Iterator[dict[str, np.ndarray]]) -> None:
        try:
            for batch in batches:
                self._put(dict(batch))
                if self._closed.is_set():
                    return
        except BaseException as error:  # whatever it is, it belongs to the one who asks for the batch
            self._put(error)

    def _put(self, found: Any) -> None:
        while not self._closed.is_set():
            try:
                self._queue.put(found, timeout=0.2)
                return
            except queue.Full:
                continue
