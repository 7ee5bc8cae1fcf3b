"""The loop: steps, and what happens between them."""

import collections
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from vjax import mesh as meshes
from vjax.errors import InputError
from vjax.evaluation import metrics
from vjax.evaluation.evaluate import Evaluation, EvaluationStopped
from vjax.training.checkpoint import Checkpoints
from vjax.training.device import device_rates
from vjax.training.feed import Feed
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


class Interrupted(Exception):
    """The run was asked to stop, and has saved its state; the same command goes on."""

    def __init__(self, step: int):
        super().__init__(f"stopped after step {step}, which is saved; the same command goes on from there")
        self.step = step


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
    names: Callable[[np.ndarray], Sequence[str]],
    should_stop: Callable[[], bool],
    skip_bad: bool,
    accumulate: int,
    data_timeout_s: float,
) -> Evaluation:
    """Returns the evaluation of the state after `num_steps` steps in all, counting those behind the given state.

    A state that was saved without its evaluation, since the run was asked to stop, is evaluated first.

    Args:
      state: to start from; used up.
      batches: host batches from the state's step on.
      step_function: `(state, batch) -> (state, sums)`, a plain function; compiled here.
      num_steps: of the whole run.
      intervals: of logging, evaluating and saving.
      evaluate: a state to its evaluation on the test split; may raise `EvaluationStopped`.
      checkpoints: where states are saved.
      writers: where numbers go.
      schedule: the learning rate by step, to be logged.
      mesh: of the devices.
      names: positions in the training split to the videos' names.
      should_stop: asked after every step whether to save and stop.
      skip_bad: whether a loss or a gradient that is not finite is left to the step function, which skips it.
      accumulate: parts that the step function takes a batch in.
      data_timeout_s: how long a batch may take.

    Raises:
      Interrupted: it was asked to stop.
      InputError: a loss or a gradient was not finite, or no batch came.
    """
    first = int(state.step)
    at_end = first >= num_steps
    is_missing = first > 0 and (at_end or first % intervals.evaluate == 0) and not checkpoints.was_evaluated(first)
    if is_missing or at_end:
        try:
            evaluation = evaluate(state)
        except EvaluationStopped as stopped:
            raise Interrupted(first) from stopped
        if is_missing:
            _write_evaluation(writers, first, evaluation)
        if at_end:
            return evaluation
    feed = Feed(batches, mesh, timeout_s=data_timeout_s)
    try:
        return _take_steps(
            state,
            feed,
            step_function,
            steps=range(first + 1, num_steps + 1),
            intervals=intervals,
            evaluate=evaluate,
            checkpoints=checkpoints,
            writers=writers,
            schedule=schedule,
            mesh=mesh,
            accumulate=accumulate,
            check=functools.partial(_check, checkpoints=checkpoints, names=names, skip_bad=skip_bad),
            should_stop=should_stop,
        )
    except InputError:
        checkpoints.wait()  # what is still being written is good
        raise
    finally:
        feed.close()


def _take_steps(
    state: TrainState,
    feed: Feed,
    step_function: Callable[..., Any],
    *,
    steps: range,
    intervals: Intervals,
    evaluate: Callable[[TrainState], Evaluation],
    checkpoints: Checkpoints,
    writers: Sequence[Writer],
    schedule: optax.Schedule,
    mesh: Mesh,
    accumulate: int,
    check: Callable[..., None],
    should_stop: Callable[[], bool],
) -> Evaluation:
    batch = feed.next()
    compiled = compile_step(step_function, state, batch.rows, mesh, accumulate=accumulate)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    facts = {
        "train/compile_s": compiled.compile_s,
        "train/step_flops": compiled.flops,
        "train/state_mb": size / 1e6,
        "train/state_mb_per_device": meshes.device_bytes(state) / 1e6,
    }
    write_all(writers, steps[0] - 1, {name: value for name, value in facts.items() if value is not None})
    in_flight: collections.deque[_Taken] = collections.deque()
    sums, clock = [], _Clock(feed, compiled.flops)

    def check_all(most_left: int) -> None:
        while len(in_flight) > most_left:
            check(in_flight.popleft())

    for step in steps:
        state, step_sums = compiled.run(state, batch.rows)
        clock.count(len(batch.rows["label"]))
        sums.append(step_sums)
        in_flight.append(_Taken(step, step_sums, batch.position))
        check_all(most_left=_STEPS_IN_FLIGHT)
        for writer in writers:
            writer.advance(step)
        last = step == steps[-1]
        if step % intervals.log == 0 or last:
            check_all(most_left=0)
            rate = float(np.asarray(schedule(step - 1)))
            write_all(writers, step, _summarise(sums) | {"train/learning_rate": rate} | clock.lap())
            sums = []
        stopping = should_stop() and not last
        evaluation = None
        if (step % intervals.evaluate == 0 or last) and not stopping:
            check_all(most_left=0)
            try:
                evaluation = evaluate(state)
            except EvaluationStopped:
                stopping = True
            else:
                _write_evaluation(writers, step, evaluation)
        if evaluation is not None or step % intervals.checkpoint == 0 or stopping:
            # A state is only saved once it is known to be good.
            check_all(most_left=0)
            started = time.perf_counter()
            checkpoints.save(step, state, metrics=evaluation.metrics if evaluation else None)
            write_all(writers, step, {"train/checkpoint_s": time.perf_counter() - started})
            clock.skip()
        if last or stopping:
            checkpoints.wait()
        if stopping:
            raise Interrupted(step)
        if last:
            assert evaluation is not None
            return evaluation
        batch = feed.next()
    raise AssertionError("a run has a last step")


def _write_evaluation(writers: Sequence[Writer], step: int, evaluation: Evaluation) -> None:
    write_all(writers, step, {f"test/{name}": value for name, value in evaluation.metrics.items()})


class _Taken(NamedTuple):
    """A step that was sent to the devices."""

    step: int
    sums: Mapping[str, metrics.Sum]
    position: np.ndarray


def _check(
    taken: _Taken, *, checkpoints: Checkpoints, names: Callable[[np.ndarray], Sequence[str]], skip_bad: bool
) -> None:
    """Waits for a step, and stops the run where its loss or its gradient is not finite."""
    bad = float(jax.block_until_ready(taken.sums["bad"]).total) > 0
    if bad and not skip_bad:
        checkpoints.wait()
        kept = checkpoints.latest_step()
        saved = "there is no checkpoint yet" if kept is None else f"the newest checkpoint, of step {kept}, is good"
        loss = metrics.means({"loss": taken.sums["loss"]})["loss"]
        raise InputError(
            f"step {taken.step}: the loss ({loss:g}) or its gradient is not finite; {saved}. The batch's videos: "
            f"{', '.join(names(taken.position))}. Lower the learning rate, clip gradients (optimizer.clip_norm), look "
            "at these videos, or leave such steps out with --config.skip_bad=True"
        )


class _Clock:
    """Clips per second and the share of time spent waiting for data, since the last look."""

    def __init__(self, feed: Feed, flops: float | None):
        self._feed, self._flops = feed, flops
        self.skip()

    def skip(self) -> None:
        """Starts anew, leaving out what went by since the last look."""
        self._at, self._waited_s = time.perf_counter(), self._feed.waited_s
        self._num_clips = self._num_steps = 0

    def count(self, num_clips: int) -> None:
        """Adds a step of so many clips."""
        self._num_clips += num_clips
        self._num_steps += 1

    def lap(self) -> dict[str, float]:
        """Returns the numbers since the last look."""
        seconds = time.perf_counter() - self._at
        waited_s = self._feed.waited_s - self._waited_s
        rates = {"train/clips_per_s": self._num_clips / seconds, "train/data_wait": waited_s / seconds}
        if self._flops:
            rates |= device_rates(self._flops * self._num_steps / seconds)
        self.skip()
        return rates


def _summarise(sums: Sequence[Mapping[str, metrics.Sum]]) -> dict[str, float]:
    """Returns the means over several steps."""
    total = dict(sums[0])
    for part in sums[1:]:
        total = metrics.add(total, part)
    return {f"train/{name}": value for name, value in metrics.means(total).items()}
