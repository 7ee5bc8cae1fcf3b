"""The loop: steps, and what happens between them."""

import collections
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from vjax import mesh as meshes
from vjax.evaluation import metrics
from vjax.evaluation.evaluate import Evaluation
from vjax.training.checkpoint import Checkpoints
from vjax.training.step import TrainState, compile_step
from vjax.training.writer import Writer, write_all

_STEPS_IN_FLIGHT = 2  # the host reads ahead of the device by this much, and no more


@dataclasses.dataclass(frozen=True)
class Intervals:
    """How often things happen, in steps; each also happens after the last step.

    Attributes:
      log: numbers are written.
      evaluate: the test split is evaluated, and a checkpoint saved with the result.
      checkpoint: a checkpoint is saved.
    """

    log: int
    evaluate: int
    checkpoint: int


def run_loop(
    state: TrainState,
    batches: Iterator[Any],
    step_function: Callable[..., Any],
    *,
    num_steps: int,
    intervals: Intervals,
    evaluate: Callable[[TrainState], Evaluation],
    checkpoints: Checkpoints,
    writers: Sequence[Writer],
    schedule: optax.Schedule,
    mesh: Mesh,
) -> Evaluation:
    """Returns the evaluation of the state after `num_steps` steps in all, counting those behind the given state.

    Args:
      state: to start from; used up.
      batches: host batches from the state's step on.
      step_function: `(state, batch) -> (state, sums)`, a plain function; compiled here.
      num_steps: of the whole run.
      intervals: of logging, evaluating and saving.
      evaluate: a state to its evaluation on the test split.
      checkpoints: where states are saved.
      writers: where numbers go.
      schedule: the learning rate by step, to be logged.
      mesh: of the devices.
    """
    first = int(state.step)
    if first >= num_steps:
        return evaluate(state)
    feed = _Feed(batches, mesh)
    batch = feed.next()
    compiled = compile_step(step_function, state, batch, mesh)
    costs = {"train/compile_s": compiled.compile_s, "train/step_flops": compiled.flops}
    write_all(writers, first, {name: value for name, value in costs.items() if value is not None})
    pending: collections.deque[Any] = collections.deque()
    sums, clock = [], _Clock(feed)
    for step in range(first + 1, num_steps + 1):
        clock.count(len(batch["label"]))
        state, step_sums = compiled.run(state, batch)
        sums.append(step_sums)
        pending.append(step_sums)
        if len(pending) > _STEPS_IN_FLIGHT:
            jax.block_until_ready(pending.popleft())
        for writer in writers:
            writer.advance(step)
        last = step == num_steps
        if step % intervals.log == 0 or last:
            write_all(
                writers,
                step,
                _summarise(sums) | {"train/learning_rate": float(np.asarray(schedule(step - 1)))} | clock.lap(),
            )
            sums = []
        evaluation = None
        if step % intervals.evaluate == 0 or last:
            evaluation = evaluate(state)
            write_all(writers, step, {f"test/{name}": value for name, value in evaluation.metrics.items()})
        if evaluation is not None or step % intervals.checkpoint == 0:
            checkpoints.save(step, state, metrics=evaluation.metrics if evaluation else None)
            clock.skip()
        if last:
            assert evaluation is not None
            checkpoints.wait()
            return evaluation
        batch = feed.next()
    raise AssertionError("a run has a last step")


class _Feed:
    """Puts batches on the devices, and knows how long the loop waited for them."""

    def __init__(self, batches: Iterator[Any], mesh: Mesh):
        self._batches, self._mesh = batches, mesh
        self.waited_s = 0.0

    def next(self) -> Any:
        started = time.perf_counter()
        host_batch = next(self._batches)
        self.waited_s += time.perf_counter() - started
        return meshes.put_batch(host_batch, self._mesh)


class _Clock:
    """Clips per second and the share of time spent waiting for data, since the last look."""

    def __init__(self, feed: _Feed):
        self._feed = feed
        self.skip()

    def skip(self) -> None:
        """Starts anew, leaving out what went by since the last look."""
        self._at, self._waited_s, self._num_clips = time.perf_counter(), self._feed.waited_s, 0

    def count(self, num_clips: int) -> None:
        """Adds the clips of a step."""
        self._num_clips += num_clips

    def lap(self) -> dict[str, float]:
        """Returns the numbers since the last look."""
        seconds = time.perf_counter() - self._at
        waited_s = self._feed.waited_s - self._waited_s
        rates = {"train/clips_per_s": self._num_clips / seconds, "train/data_wait": waited_s / seconds}
        self.skip()
        return rates


def _summarise(sums: Sequence[Mapping[str, metrics.Sum]]) -> dict[str, float]:
    """Returns the means over several steps."""
    total = dict(sums[0])
    for part in sums[1:]:
        total = metrics.add(total, part)
    return {f"train/{name}": value for name, value in metrics.means(total).items()}
