"""Profiling of some steps, for TensorBoard's profile page or Perfetto."""

import dataclasses
from pathlib import Path
from typing import Annotated

import jax

from vjax.errors import InputError
from vjax.spec import Range


@dataclasses.dataclass(frozen=True)
class ProfileWindow:
    """The steps to profile.

    Attributes:
      start: first profiled step; 0 turns profiling off.
      num_steps: number of profiled steps.
    """

    start: Annotated[int, Range(at_least=0)] = 0
    num_steps: Annotated[int, Range(at_least=0)] = 0

    def __post_init__(self):
        if (self.start > 0) != (self.num_steps > 0):
            raise InputError(
                f"profile.start and profile.num_steps must both be 1 or more, or both 0, got {self.start} and "
                f"{self.num_steps}"
            )


class Profiler:
    """A writer that ignores numbers and writes a trace of the window's steps to a folder."""

    def __init__(self, folder: Path, window: ProfileWindow, *, start_step: int):
        """Starts tracing at once if the next step is the window's first."""
        self._folder, self._window, self._is_tracing = folder, window, False
        self.advance(start_step)

    def scalars(self, step: int, values: object) -> None:
        """Ignores the numbers."""

    def advance(self, step: int) -> None:
        """Starts tracing before the window's first step is dispatched, and stops after its last step is dispatched."""
        if self._window.start and step == self._window.start - 1:
            jax.profiler.start_trace(str(self._folder))
            self._is_tracing = True
        if step == self._window.start + self._window.num_steps - 1:
            self.close()

    def close(self) -> None:
        """Writes the trace, if one is being recorded."""
        if self._is_tracing:
            jax.profiler.stop_trace()
            self._is_tracing = False
