"""Prefetching of batches: a thread reads ahead, and the wait for a batch has a time limit."""

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
    """A batch on the devices.

    Attributes:
      rows: global arrays on the devices, by name.
      position: `(b)`, positions in the training split of this process's rows.
    """

    rows: Any
    position: np.ndarray


class Prefetcher:
    """Reads host batches ahead, puts them on the devices, and measures how long the loop waits for them."""

    def __init__(self, batches: Iterator[dict[str, np.ndarray]], mesh: Mesh, *, timeout_s: float):
        """Starts the reading thread.

        Args:
          batches: endless host batches, each with a `position` in addition to its rows.
          mesh: device mesh.
          timeout_s: longest wait for a batch, in seconds.
        """
        self._mesh, self._timeout_s = mesh, timeout_s
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=1)
        self._closed = threading.Event()
        self.waited_s = 0.0
        # A daemon thread, because a stuck reader must not keep the process alive.
        threading.Thread(target=self._read, args=(batches,), daemon=True, name="prefetcher").start()

    def next(self) -> DeviceBatch:
        """Returns the next batch; an error of the reading thread is raised here.

        Raises:
          InputError: no batch came in time.
        """
        started = time.perf_counter()
        try:
            found = self._queue.get(timeout=self._timeout_s)
        except queue.Empty:
            raise InputError(
                f"no batch came for {self._timeout_s:g} s: reading is stuck, or a worker has died. The same command "
                "continues from the newest checkpoint; --config.num_workers=0 reads without workers, and "
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
        except BaseException as error:  # `next` raises it, whatever it is
            self._put(error)

    def _put(self, found: Any) -> None:
        while not self._closed.is_set():
            try:
                self._queue.put(found, timeout=0.2)
                return
            except queue.Full:
                continue
