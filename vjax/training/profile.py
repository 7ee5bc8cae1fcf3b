"""A profile of some steps, for TensorBoard's profile page or Perfetto."""

import dataclasses
from pathlib import Path
from typing import Annotated

import jax

from vjax.errors import InputError
from vjax.spec import Range


@dataclasses.dataclass(frozen=True)
class ProfileWindow:
    """Steps to look at.

    Attributes:
      start: first step that is profiled; 0 profiles none.
      num_steps: number of steps that are profiled.
    """

    start: Annotated[int, Range(at_least=0)] = 0
    num_steps: Annotated[int, Range(at_least=0)] = 0

    def __post_init__(self):
        if (self.start > 0) != (self.num_steps > 0):
            raise InputError(
                f"profile.start and profile.num_steps are both 1 or more, or both 0, got {self.start} and "
                f"{self.num_steps}"
            )


class Profiler:
    """A writer that takes no numbers: it traces the window's steps into a folder."""

    def __init__(self, folder: Path, window: ProfileWindow, *, start_step: int):
        """Starts at once where the window's first step comes next."""
        self._folder, self._window, self._is_tracing = folder, window, False
        self.advance(start_step)

    def scalars(self, step: int, values: object) -> None:
        """Writes nothing."""

    def advance(self, step: int) -> None:
        """Starts before the window's first step is taken, and stops after its last."""
        if self._window.start and step == self._window.start - 1:
            jax.profiler.start_trace(str(self._folder))
            self._is_tracing = True
        if step == self._window.start + self._window.num_steps - 1:
            self.close()

    def close(self) -> None:
        """Writes what was traced."""
        if self._is_tracing:
            jax.profiler.stop_trace()
            self._is_tracing = False
