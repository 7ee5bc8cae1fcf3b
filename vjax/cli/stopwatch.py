"""The speed of predictions, and the share of it that the network took."""

import time
from collections.abc import Callable
from typing import Any

import jax

from vjax.text import count


class Stopwatch:
    """Measures the seconds since it was made, and those spent in the functions that it wraps.

    Attributes:
      num_clips: number of clips that were predicted; the caller counts them.
    """

    def __init__(self):
        self.num_clips = 0
        self._started = time.monotonic()
        self._seconds = 0.0

    def timed(self, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Returns a function whose seconds are counted; its outputs are computed when it returns."""

        def timed(inputs: Any) -> Any:
            started = time.monotonic()
            found = jax.block_until_ready(call(inputs))
            self._seconds += time.monotonic() - started
            return found

        return timed

    def describe(self, *, num_videos: int) -> str:
        """Returns the speed in one line."""
        total = time.monotonic() - self._started
        return (
            f"{count(num_videos, 'video')}, {count(self.num_clips, 'clip')} in {total:.1f} s: "
            f"{self.num_clips / total:.3g} clips/s; the network took {self._seconds / total:.0%} of the time, reading "
            "and writing the rest"
        )
