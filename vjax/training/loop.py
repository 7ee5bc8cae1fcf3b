"""The training loop: steps, and the logging, evaluation and checkpoints between them."""

import collections
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, NoReturn

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
from vjax.training.prefetch import Prefetcher
from vjax.training.step import CompiledStep, TrainState, compile_step
from vjax.training.writer import Writer, write_all

_STEPS_IN_FLIGHT = 2  # most steps that the host dispatches ahead of the device


@dataclasses.dataclass(frozen=True)
class Intervals:
    """Intervals in steps; each of the three actions also happens after the last step.

    Attributes:
      log: interval between log entries.
      evaluate: interval between evaluations; each saves a checkpoint with its result.
      checkpoint: interval between checkpoints.
    """

    log: int
    evaluate: int
    checkpoint: int


class Interrupted(Exception):
    """The run was asked to stop and has saved its state; the same command continues it."""

    def __init__(self, step: int):
        super().__init__(f"stopped after step {step}, which is saved; the same command continues from there")
        self.step = step


@dataclasses.dataclass(frozen=True)
class Loop:
    """The training loop of one run.

    Attributes:
      step_function: plain function `(state, batch) -> (state, sums)`, which the loop compiles.
      num_steps: number of steps of the run, including those before it was resumed.
      intervals: intervals between log entries, evaluations and checkpoints.
      evaluate: function from a state to its evaluation; it may raise `EvaluationStopped`.
      evaluated: split that `evaluate` uses: "val", or "test" if there is no validation split.
      checkpoints: checkpoints of the work directory, where states are saved.
      writers: writers that receive the numbers.
      schedule: learning rate by step, for the log.
      mesh: device mesh.
      names: function from positions in the training split to the names of the videos.
      should_stop: function that is called after every step and returns whether to save and stop.
      skip_nonfinite: whether the loop ignores a nonfinite loss or gradient, because the step function skips such steps.
      accumulate: number of parts that the step function splits a batch into.
      data_timeout_s: longest wait for a batch, in seconds.
    """

    step_function: Callable[..., Any]
    num_steps: int
    intervals: Intervals
    evaluate: Callable[[TrainState], Evaluation]
    evaluated: Literal["val", "test"]
    checkpoints: Checkpoints
    writers: Sequence[Writer]
    schedule: optax.Schedule
    mesh: Mesh
    names: Callable[[np.ndarray], Sequence[str]]
    should_stop: Callable[[], bool]
    skip_nonfinite: bool
    accumulate: int
    data_timeout_s: float

    def run(self, state: TrainState, batches: Iterator[Any]) -> tuple[TrainState, Evaluation | None]:
        """Trains until the state's step is `num_steps`; returns the final state and its evaluation.

        The evaluation is None if the given state is the final one and was evaluated before.

        If a stop request prevented the evaluation of the given state, that evaluation is made first.

        Args:
          state: initial state; the first step donates its buffers.
          batches: host batches, starting at the state's step.

        Raises:
          Interrupted: the run was asked to stop.
          InputError: a loss or a gradient is not finite, or no batch came in time.
        """
        # The evaluation of the given state, if it is due and missing.
        first = int(state.step)
        at_end = first >= self.num_steps
        is_due = first > 0 and (at_end or first % self.intervals.evaluate == 0)
        is_missing = is_due and not self.checkpoints.was_evaluated(first)
        evaluation = None
        if is_missing:
            try:
                evaluation = self.evaluate(state)
            except EvaluationStopped as stopped:
                raise Interrupted(first) from stopped
            self._write_evaluation(first, evaluation)
        if at_end:
            return state, evaluation
        # The remaining steps.
        prefetcher = Prefetcher(batches, self.mesh, timeout_s=self.data_timeout_s)
        try:
            return self._take_steps(state, prefetcher, range(first + 1, self.num_steps + 1))
        except InputError:
            self.checkpoints.wait()  # the state that is still being written is good
            raise
        finally:
            prefetcher.close()

    def _take_steps(self, state: TrainState, prefetcher: Prefetcher, steps: range) -> tuple[TrainState, Evaluation]:
        # Compilation, which needs the shapes of a batch.
        batch = prefetcher.next()
        compiled = compile_step(self.step_function, state, batch.rows, self.mesh, accumulate=self.accumulate)
        self._write_facts(steps[0] - 1, state, compiled)
        in_flight: collections.deque[_PendingStep] = collections.deque()
        sums, clock = [], _Clock(prefetcher, compiled.flops)
        for step in steps:
            # The step: dispatched here, and checked when a few more steps are in flight.
            state, step_sums = compiled.run(state, batch.rows)
            clock.count(len(batch.rows["label"]))
            sums.append(step_sums)
            in_flight.append(_PendingStep(step, step_sums, batch.position))
            self._check(in_flight, most_left=_STEPS_IN_FLIGHT)
            for writer in self.writers:
                writer.advance(step)
            last = step == steps[-1]
            # The log: rates, and means since the last entry.
            if step % self.intervals.log == 0 or last:
                self._check(in_flight, most_left=0)
                rate = float(np.asarray(self.schedule(step - 1)))
                write_all(self.writers, step, _summarise(sums) | {"train/learning_rate": rate} | clock.rates())
                sums = []
            # Evaluation, unless the run was asked to stop.
            stopping = self.should_stop() and not last
            evaluation = None
            if (step % self.intervals.evaluate == 0 or last) and not stopping:
                self._check(in_flight, most_left=0)
                try:
                    evaluation = self.evaluate(state)
                except EvaluationStopped:
                    stopping = True
                else:
                    self._write_evaluation(step, evaluation)
            # A checkpoint: a state is only saved once all steps up to it have been checked.
            if evaluation is not None or step % self.intervals.checkpoint == 0 or stopping:
                self._check(in_flight, most_left=0)
                self._save(step, state, evaluation)
                clock.skip()
            # The end, or the next batch.
            if last or stopping:
                self.checkpoints.wait()
            if stopping:
                raise Interrupted(step)
            if last:
                assert evaluation is not None
                return state, evaluation
            batch = prefetcher.next()
        raise AssertionError("a run has a last step")

    def _check(self, in_flight: "collections.deque[_PendingStep]", *, most_left: int) -> None:
        """Waits for the oldest steps until at most `most_left` are in flight; stops the run if one is not finite."""
        while len(in_flight) > most_left:
            pending = in_flight.popleft()
            nonfinite = float(jax.block_until_ready(pending.sums["nonfinite"]).total) > 0
            if nonfinite and not self.skip_nonfinite:
                self._stop_at(pending)

    def _stop_at(self, pending: "_PendingStep") -> NoReturn:
        self.checkpoints.wait()
        kept = self.checkpoints.latest_step()
        saved = "there is no checkpoint yet" if kept is None else f"the newest checkpoint, of step {kept}, is good"
        loss = metrics.means({"loss": pending.sums["loss"]})["loss"]
        raise InputError(
            f"step {pending.step}: the loss ({loss:g}) or its gradient is not finite; {saved}. The batch's videos: "
            f"{', '.join(self.names(pending.position))}. Lower the learning rate, clip gradients "
            "(optimizer.clip_norm), look at these videos, or skip such steps with --config.skip_nonfinite=True"
        )

    def _save(self, step: int, state: TrainState, evaluation: Evaluation | None) -> None:
        started = time.perf_counter()
        self.checkpoints.save(step, state, metrics=scalars_of(evaluation, self.evaluated) if evaluation else None)
        write_all(self.writers, step, {"train/checkpoint_s": time.perf_counter() - started})

    def _write_facts(self, step: int, state: TrainState, compiled: CompiledStep) -> None:
        facts = {
            "train/compile_s": compiled.compile_s,
            "train/step_flops": compiled.flops,
            "train/state_mb": sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 1e6,
            "train/state_mb_per_device": meshes.device_bytes(state) / 1e6,
        }
        write_all(self.writers, step, {name: value for name, value in facts.items() if value is not None})

    def _write_evaluation(self, step: int, evaluation: Evaluation) -> None:
        write_all(self.writers, step, scalars_of(evaluation, self.evaluated))


def scalars_of(evaluation: Evaluation, split: str) -> dict[str, float]:
    """Returns the metrics of an evaluation by the names that writers receive, such as "val/video@1"."""
    return {f"{split}/{name}": value for name, value in evaluation.metrics.items()}


class _PendingStep(NamedTuple):
    """A step that was dispatched to the devices and not checked yet."""

    step: int
    sums: Mapping[str, metrics.Sum]
    position: np.ndarray


class _Clock:
    """Measures clips per second and the share of time spent waiting for data."""

    def __init__(self, prefetcher: Prefetcher, flops: float | None):
        self._prefetcher, self._flops = prefetcher, flops
        self.skip()

    def skip(self) -> None:
        """Restarts the measurement; steps and time since the last restart do not count."""
        self._at, self._waited_s = time.perf_counter(), self._prefetcher.waited_s
        self._num_clips = self._num_steps = 0

    def count(self, num_clips: int) -> None:
        """Adds a step with this number of clips."""
        self._num_clips += num_clips
        self._num_steps += 1

    def rates(self) -> dict[str, float]:
        """Returns the rates since the last restart, and restarts the measurement."""
        seconds = time.perf_counter() - self._at
        waited_s = self._prefetcher.waited_s - self._waited_s
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
