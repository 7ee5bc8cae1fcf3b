import subprocess
import sys

import pytest

from vjax import memory


@pytest.mark.parametrize("size", [500_000, 10_000_000])
def test_freed_memory_stays_with_the_process(size):
    """A block, freed and asked for again, is not faulted in again: a record's 4 MB and a layer's 80 MB."""
    code = """
import resource, sys
import numpy as np
from vjax.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    np.ones(int(sys.argv[2]))  # freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
first = faults()
print(max(faults() for _ in range(20)) - first)
"""
    counts = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", code, how, str(size)], capture_output=True, text=True, check=True
            ).stdout
        )
        for how in ("keep", "default")
    }
    assert counts["keep"] < counts["default"] / 5


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_freed_memory() is False
