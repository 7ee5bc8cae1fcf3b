import time

import jax
import numpy as np
import pytest

from vjax import mesh as meshes
from vjax.errors import InputError
from vjax.training.prefetch import Prefetcher


def batches(count, *, seconds=0.0):
    for number in range(count):
        time.sleep(seconds)
        yield {"label": np.full(8, number, np.int32), "position": np.arange(8, dtype=np.int32)}


def test_batches_come_in_order_with_the_positions_on_the_host():
    prefetcher = Prefetcher(batches(5), meshes.make_mesh(), timeout_s=10)
    found = [prefetcher.next() for _ in range(5)]
    assert [int(fed.rows["label"][0]) for fed in found] == list(range(5))
    assert all(set(fed.rows) == {"label"} for fed in found)
    assert all(isinstance(fed.position, np.ndarray) for fed in found)
    assert len(found[0].rows["label"].sharding.device_set) == len(jax.devices())


def test_a_reader_that_is_stuck_stops_the_run_in_time():
    prefetcher = Prefetcher(batches(1, seconds=60), meshes.make_mesh(), timeout_s=0.2)
    started = time.monotonic()
    with pytest.raises(InputError, match=r"no batch came for 0.2 s: reading is stuck, .*num_workers=0"):
        prefetcher.next()
    assert time.monotonic() - started < 5


def test_an_error_of_the_reader_reaches_the_loop_after_the_batches_before_it():
    def failing():
        yield from batches(1)
        raise OSError("the disk is gone")

    prefetcher = Prefetcher(failing(), meshes.make_mesh(), timeout_s=10)
    prefetcher.next()
    with pytest.raises(OSError, match="the disk is gone"):
        prefetcher.next()


def test_waiting_is_counted():
    prefetcher = Prefetcher(batches(2, seconds=0.2), meshes.make_mesh(), timeout_s=10)
    prefetcher.next()
    assert 0.1 < prefetcher.waited_s < 5


def test_a_closed_feed_lets_go_of_the_reader():
    taken = []

    def counted():
        for batch in batches(1000):
            taken.append(batch)
            yield batch

    prefetcher = Prefetcher(counted(), meshes.make_mesh(), timeout_s=10)
    prefetcher.next()
    prefetcher.close()
    time.sleep(0.5)
    after = len(taken)
    time.sleep(0.3)
    assert len(taken) == after < 10
