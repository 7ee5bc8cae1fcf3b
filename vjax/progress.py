"""How far a long job is: a bar on a terminal, plain lines elsewhere."""

import time
from typing import TextIO

from tqdm import tqdm

_SECONDS = 10.0  # from one plain line to the next


class Progress:
    """Shows how many of all are done, and the time left."""

    def __init__(self, stream: TextIO, *, unit: str):
        self._stream, self._unit = stream, unit
        self._bar: tqdm | None = None
        self._started = self._shown = time.monotonic()
        self._first: int | None = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, done: int, total: int) -> None:
        """Shows that so many of all are done."""
        if self._stream.isatty():
            if self._bar is None:
                self._bar = tqdm(total=total, initial=done, file=self._stream, unit=self._unit, dynamic_ncols=True)
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if self._first is None:
            self._first = done
        elif now - self._shown < _SECONDS and done < total:
            return
        self._shown = now
        rate = (done - self._first) / max(1e-9, now - self._started)
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        self._stream.write(f"{done} of {total} {self._unit}s{left}\n")
        self._stream.flush()
