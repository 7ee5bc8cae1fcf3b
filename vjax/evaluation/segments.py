"""Segments: the parts of a video with one class, found in the probabilities of its windows by hysteresis."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from vjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Segment:
    """A part of a video with one class.

    Attributes:
      start_s: start in seconds.
      end_s: end in seconds.
      label: index of the class.
      score: mean probability of the class over the windows of the segment.
    """

    start_s: float
    end_s: float
    label: int
    score: float

    def named(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Returns the segment with the name of its class, ready for JSON; times are to the millisecond."""
        times = {"start_s": round(self.start_s, 3), "end_s": round(self.end_s, 3)}
        return times | {"class": class_names[self.label], "score": self.score}


class SegmentFinder:
    """Finds segments while windows come: a class that is in stays until it is clearly out.

    A segment begins at a window whose most probable class reaches `enter`. It ends where its class falls below `leave`,
    or where another class reaches `enter` and is more probable. Of two windows, each answers for the time up to halfway
    between their middles. Time that no window has seen, and that is longer than one, belongs to no segment.
    """

    def __init__(self, *, enter: float, leave: float, min_s: float):
        """Begins without a segment.

        Args:
          enter: probability at which a segment begins.
          leave: probability below which it ends; at most `enter`.
          min_s: length in seconds below which a segment is left out.

        Raises:
          InputError: the probabilities or the length are out of range.
        """
        if not 0 < leave <= enter <= 1:
            raise InputError(f"segments need 0 < leave <= enter <= 1; got leave {leave:g} and enter {enter:g}")
        if not min_s >= 0:
            raise InputError(f"the shortest segment must have 0 seconds or more, got {min_s:g}")
        self._enter, self._leave, self._min_s = enter, leave, min_s
        self._label, self._start_s = -1, 0.0  # the class of the open segment, -1 for none, and its start
        self._scores: list[float] = []
        self._last: tuple[float, float] | None = None  # middle and end of the last window

    def add(self, start_s: float, end_s: float, probs: np.ndarray) -> Segment | None:
        """Takes the next window, with probabilities `(k)`; returns the segment that ends before it, if one does."""
        middle, ended = (start_s + end_s) / 2, None
        # Where more than the length of a window was not seen, a segment ends with what was.
        if self._last is not None and start_s - self._last[1] > end_s - start_s:
            ended, self._last = self._end(self._last[1]), None
        border = start_s if self._last is None else (self._last[0] + middle) / 2
        self._last = middle, end_s
        best = int(np.argmax(probs))
        enters = bool(probs[best] >= self._enter)
        if self._label >= 0 and probs[self._label] >= self._leave and (best == self._label or not enters):
            self._scores.append(float(probs[self._label]))
            return None
        ended = ended or self._end(border)
        if enters:
            self._label, self._start_s, self._scores = best, border, [float(probs[best])]
        return ended

    def close(self) -> Segment | None:
        """Returns the segment that is open at the end of the video, if one is."""
        return None if self._last is None else self._end(self._last[1])

    def _end(self, border: float) -> Segment | None:
        label, self._label = self._label, -1
        if label < 0 or border - self._start_s < self._min_s:
            return None
        return Segment(self._start_s, border, label, float(np.mean(self._scores)))
