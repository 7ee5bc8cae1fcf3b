"""Training: runs an experiment in a work directory and returns its result.

A work directory holds `config.json` (with all defaults), `classes.json`, `preprocessing.json`, `data.json`,
`split.csv`, `bad_videos.csv`, `first_batch.gif`, `inference.stablehlo`, `checkpoints/`, `metrics.jsonl`, TensorBoard's
`events/`, and at the end `result.json`, `predictions.npz`, `confusion.png`, `curves.png` and, with a validation split,
`calibration.json`.
"""

import contextlib
import dataclasses
import functools
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TextIO

import jax

from vjax import mesh as meshes
from vjax import typed, workdirs
from vjax.config import Config, InitFrom, check_config, with_absolute_paths
from vjax.data import pipeline
from vjax.data.encode import write_frames
from vjax.data.files import indexing_progress
from vjax.data.lost import LostVideos, describe_changes
from vjax.data.video import BadVideo
from vjax.errors import InputError
from vjax.evaluation.calibration import Calibration, fit_calibration, write_calibration
from vjax.evaluation.evaluate import Evaluation, EvaluationStopped, evaluate
from vjax.evaluation.figures import draw_confusion, draw_curves, write_figure
from vjax.evaluation.infer import compile_infer
from vjax.evaluation.predictions import PREDICTIONS_FILE, write_predictions
from vjax.evaluation.result import answered, describe_result, lost_in
from vjax.experiment import Experiment, build, make_init
from vjax.export.stablehlo import inference_program
from vjax.first_state import make_first_state
from vjax.json_files import as_json, write_bytes, write_json
from vjax.mesh import Layout
from vjax.models.cost import count_parameters
from vjax.ops.captions import add_captions
from vjax.ops.frames import tile_clips
from vjax.preprocessing import bind_preprocessing
from vjax.runtime import memory
from vjax.runtime.versions import versions
from vjax.spec import Choice
from vjax.text import terminal_width, wrap
from vjax.training.checkpoint import Checkpoints, DamagedCheckpoint
from vjax.training.loop import Interrupted, Intervals, Loop, scalars_of
from vjax.training.pretrained import find_pretrained
from vjax.training.profile import Profiler
from vjax.training.step import TrainState, abstract_state
from vjax.training.weights_and_biases import WeightsAndBiases
from vjax.training.writer import Console, JsonLines, TensorBoard, Writer, read_json_lines, write_all

_GIF_FPS = 8.0
_GIF_CLIPS = 16


def train(
    config: Config | Mapping[str, Any],
    workdir: str | Path,
    *,
    console: TextIO = sys.stderr,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Builds the experiment of a config and fits it; returns the content of `result.json`.

    Args:
      config: config of the run, or the content of a `config.json`.
      workdir: directory of the run.
      console: stream for progress messages.
      should_stop: function that tells whether to save and stop; see `fit`.

    Raises:
      InputError: the config, the data or the work directory does not fit, or training cannot continue; nothing that
        was saved is lost.
      Interrupted: `should_stop` returned True; the state is saved.
    """
    config = check_config(config)
    bound, _ = bind_preprocessing(config)
    workdir = Path(workdir).expanduser()
    # Check these before the videos are listed, which may take minutes.
    workdirs.check_config(workdir, _resolve(bound), {})
    if finished := workdirs.finished_result(workdir, length=config.length):
        return finished
    if config.init.weights and not (workdir / "config.json").exists():
        _check_init(config.init)  # only for a new run: one that goes on has its checkpoints
    with indexing_progress(console) as progress:
        experiment = build(workdirs.with_own_split(workdir, config), advance=progress.advance)
    return fit(dataclasses.replace(experiment, config=bound), workdir, console=console, should_stop=should_stop)


def _check_init(init: InitFrom) -> None:
    """Raises an InputError if the weights to start from do not exist, or have no checkpoint to choose."""
    pretrained = find_pretrained(init.weights)
    pretrained.path()
    if init.checkpoint != "newest" and not pretrained.is_run:
        raise InputError(
            f"config.init.checkpoint is {init.checkpoint!r}, but {init.weights} is no work directory of a run; a file "
            "has no checkpoints, so leave config.init.checkpoint at 'newest'"
        )


def fit(
    experiment: Experiment,
    workdir: str | Path,
    *,
    console: TextIO = sys.stderr,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Trains and evaluates an experiment; returns the content of `result.json`.

    If the work directory holds an unfinished run of the same config, the run continues from its newest checkpoint. If
    it holds a finished run, nothing is trained, and the result of that run is returned.

    Args:
      experiment: experiment to train.
      workdir: directory of the run.
      console: stream for progress messages.
      should_stop: function that tells whether to save and stop; it is called after every step and between the
        batches of an evaluation.

    Raises:
      InputError: the experiment or the work directory does not fit, or training cannot continue; nothing that was
        saved is lost.
      Interrupted: `should_stop` returned True; the state is saved.
    """
    workdir = Path(workdir).expanduser()
    workdirs.check_config(workdir, _resolve(experiment.config), experiment.foreign_parts())
    if finished := workdirs.finished_result(workdir, length=experiment.config.length):
        return finished
    if jax.default_backend() == "cpu":
        memory.advise()
    with contextlib.ExitStack() as held:
        # Process 0 locks the directory for all processes.
        directory = workdirs.claimed(workdir) if jax.process_index() == 0 else contextlib.nullcontext()
        meshes.first_process_first(lambda: held.enter_context(directory))
        source = meshes.first_process_first(lambda: workdirs.kept_source(workdir, experiment.source))
        return _fit(dataclasses.replace(experiment, source=source), workdir, console, should_stop)


def _fit(experiment: Experiment, workdir: Path, console: TextIO, should_stop: Callable[[], bool]) -> dict[str, Any]:
    """Runs an experiment in a work directory that is locked; returns the content of `result.json`."""
    # The checks, the optimizer and the random keys: none of them needs a file.
    config, source = experiment.config, experiment.source
    experiment.check()
    optimizer, schedule = experiment.optimizer()
    init_key, step_key = jax.random.split(jax.random.key(config.seed))

    # The state: from the newest checkpoint, from another run, or random.
    checkpoints = Checkpoints(workdir / "checkpoints")
    make_state = make_init(config, experiment.network, optimizer, view=experiment.test_view, key=init_key)
    state = _restore(make_state, checkpoints, experiment.layout, console)
    if state is None:
        workdirs.check_unfinished(workdir)
        state = make_first_state(experiment, make_state, console)
    first = int(state.step)

    # Write into the work directory only now, when all other parts were built without an error.
    writers = _take_workdir(experiment, workdir, console, first_state=state)
    lost = _lost_videos(experiment, workdir, console)

    # The training loop, which evaluates on the validation split if there is one: the test split serves no choice.
    watched: Literal["val", "test"] = "val" if len(source.val) else "test"
    evaluate_state = _make_evaluation(experiment, lost, should_stop)
    batches = _batches(experiment, workdir, lost, first_step=first)
    loop = Loop(
        step_function=experiment.step_function(optimizer, step_key),
        num_steps=experiment.num_steps,
        intervals=Intervals(
            log=experiment.steps("log_every"),
            evaluate=experiment.steps("evaluate_every"),
            checkpoint=experiment.steps("checkpoint_every"),
        ),
        evaluate=functools.partial(evaluate_state, split=watched),
        evaluated=watched,
        checkpoints=checkpoints,
        writers=writers,
        schedule=schedule,
        mesh=experiment.mesh,
        names=lambda positions: [source.train[int(position)].name for position in positions],
        should_stop=should_stop,
        skip_nonfinite=config.skip_nonfinite,
        accumulate=config.accumulate,
        data_timeout_s=config.data_timeout_s,
    )
    state, evaluation = loop.run(state, batches)
    checkpoints.close()

    # The calibration on the validation split if there is one, the result on the test split, and its pictures.
    if evaluation is None:
        evaluation = _evaluate_last(evaluate_state, state, split=watched)
    calibration = None
    if watched == "val":
        calibration = fit_calibration(*answered(evaluation), step=int(state.step))
        evaluation = _evaluate_last(evaluate_state, state, split="test")
        write_all(writers, int(state.step), scalars_of(evaluation, "test"))
    result = _write_result(experiment, workdir, evaluation, calibration)
    for writer in writers:  # last, because wandb may take a while
        writer.close()
    return result


def _write_result(
    experiment: Experiment, workdir: Path, evaluation: Evaluation, calibration: Calibration | None
) -> dict[str, Any]:
    """Returns the content of `result.json`, and writes it with the other files of a finished run."""
    source = experiment.source
    checkpoint = f"newest checkpoint{workdirs.describe_longer(workdir)}"
    result = describe_result(evaluation, source, experiment.test_view, checkpoint=checkpoint, calibration=calibration)
    result |= {"versions": versions()}
    if jax.process_index() == 0:
        if calibration is not None:
            write_calibration(workdir, calibration)
        write_figure(workdir / "confusion.png", draw_confusion(result["confusion"], source.class_names))
        write_figure(workdir / "curves.png", draw_curves(read_json_lines(workdir / "metrics.jsonl")))
        write_predictions(workdir / PREDICTIONS_FILE, evaluation, source.test)
        write_json(workdir / "result.json", result)  # last, because a run with a result is finished
    return result


def _make_evaluation(
    experiment: Experiment, lost: LostVideos, should_stop: Callable[[], bool]
) -> Callable[..., Evaluation]:
    """Returns a function that evaluates a state on a split, including the experiment's additional metrics."""
    config, source = experiment.config, experiment.source
    compiled_infer = compile_infer(experiment.network, config.clip_input, experiment.mesh)

    def evaluate_state(state: TrainState, *, split: Literal["val", "test"]) -> Evaluation:
        found = evaluate(
            getattr(source, split),
            experiment.test_view,
            compiled_infer(state.variables),
            batch_size=config.test.batch_size,
            num_workers=config.num_workers,
            mesh=experiment.mesh,
            should_stop=should_stop,
        )
        for bad in lost_in(found, source, split):
            lost.add(bad)
        further = {name: float(metric(found)) for name, metric in experiment.metrics.items()}
        return dataclasses.replace(found, metrics=found.metrics | further)

    return evaluate_state


def _evaluate_last(
    evaluate_state: Callable[..., Evaluation], state: TrainState, *, split: Literal["val", "test"]
) -> Evaluation:
    """Returns the evaluation of the final state on a split; raises Interrupted if it was asked to stop."""
    try:
        return evaluate_state(state, split=split)
    except EvaluationStopped as stopped:
        raise Interrupted(int(state.step)) from stopped


def _take_workdir(experiment: Experiment, workdir: Path, console: TextIO, *, first_state: TrainState) -> list[Writer]:
    """Writes the files that describe the run, and returns its writers; only process 0 writes and has writers."""
    if jax.process_index() > 0:
        return []
    config, source, resolved = experiment.config, experiment.source, _resolve(experiment.config)
    first_step = int(first_state.step)
    writers: list[Writer] = []
    if config.wandb_project:
        writers.append(WeightsAndBiases(workdir, project=config.wandb_project, config=resolved))
    num_parameters = count_parameters(first_state.params)
    console.write(describe_run(experiment, workdir, num_parameters=num_parameters, width=terminal_width()))
    notes = experiment.notes if first_step == 0 else ()
    changes = describe_changes(dataclasses.replace(source, lost_videos=()))  # lost videos are said one by one
    for line in (*notes, *changes):
        console.write(wrap(line, width=terminal_width(), hang=2) + "\n")
    _say_if_longer(experiment, workdir, console, first_step=first_step)
    write_json(workdir / "classes.json", list(source.class_names))
    write_json(workdir / "config.json", resolved)
    write_json(workdir / "preprocessing.json", _preprocessing(experiment))
    workdirs.write_foreign(workdir, experiment.foreign_parts())
    workdirs.write_data(workdir, source)
    if first_step == 0:
        _write_inference(experiment, first_state, workdir, console)
    return [
        *writers,
        JsonLines(workdir / "metrics.jsonl", start_step=first_step),
        TensorBoard(workdir / "events", start_step=first_step),
        Console(console, start_step=first_step, num_steps=experiment.num_steps),
        Profiler(workdir / "profile", config.profile, start_step=first_step),
        *experiment.writers,
    ]


def _write_inference(experiment: Experiment, state: TrainState, workdir: Path, console: TextIO) -> None:
    """Writes the inference of the network as StableHLO: a network that cannot be exported says so before it learns."""
    network, clip_shape = experiment.network, experiment.test_view.shape[1:]
    path = workdir / "inference.stablehlo"
    path.unlink(missing_ok=True)  # of a start before this one
    try:
        program = inference_program(network, state.variables, experiment.config.clip_input, clip_shape)
    except InputError as error:
        console.write(wrap(f"{error}. Training goes on", width=terminal_width(), hang=2) + "\n")
        return
    write_bytes(path, program)


def describe_run(experiment: Experiment, workdir: Path, *, num_parameters: int, width: int) -> str:
    """Returns what a run is about to do: data, clip, network, devices, place of the results; in `width` columns."""
    config, source, devices = experiment.config, experiment.source, experiment.mesh.devices.flat
    view, backbone = experiment.test_view, config.network.options.get("backbone")
    network = config.network.name + (f" on the backbone {backbone.name}" if isinstance(backbone, Choice) else "")
    if "network" in experiment.foreign_parts():
        network = type(experiment.network).__name__
    parts = {
        "data": f"{len(source.train):,} videos to train on, {len(source.val):,} to validate, {len(source.test):,} to "
        f"test on, {len(source.class_names):,} classes; test split {source.split}",
        "clip": f"{view.timing.describe()}, {view.size[0]} x {view.size[1]}; batches of {config.batch_size}",
        "network": f"{network}, {num_parameters:,} parameters",
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "results": str(workdir),
    }
    return "".join(wrap(f"{part:8} {text}", width=width, hang=9) + "\n" for part, text in parts.items())


def _say_if_longer(experiment: Experiment, workdir: Path, console: TextIO, *, first_step: int) -> None:
    """Prepares a work directory whose run is made longer, and says what that does to the learning rate."""
    before = workdirs.longer_than(workdir, experiment.config.length)
    if before is None:
        return
    workdirs.note_longer(workdir, step=first_step, before=before)
    said = (
        f"the run is made longer: {before} before, {experiment.config.length} now. From step {first_step + 1} on, the "
        "learning rate follows the schedule of the new length, so the result is not that of one run of this length"
    )
    console.write(wrap(said, width=terminal_width()) + "\n")


def _batches(experiment: Experiment, workdir: Path, lost: LostVideos, *, first_step: int) -> Iterator[Any]:
    """Returns the training batches from a step on; also writes the first batch of a new run as a GIF."""
    config = experiment.config
    batches = pipeline.train_batches(
        experiment.source.train,
        experiment.train_view,
        pipeline.Shard(config.batch_size, jax.process_index(), jax.process_count()),
        order=pipeline.Order(config.seed, experiment.classes_to_draw),
        start_step=first_step,
        num_workers=config.num_workers,
        mix=experiment.mix,
        report=lost.train,
    )
    if first_step > 0 or jax.process_index() > 0:
        return batches
    first_batch = next(batches)
    shown, names = first_batch["clips"][:_GIF_CLIPS], experiment.source.class_names
    captioned = add_captions(shown, [names[label] for label in first_batch["label"][:_GIF_CLIPS]])
    write_frames(workdir / "first_batch.gif", tile_clips(captioned), fps=_GIF_FPS)
    return itertools.chain([first_batch], batches)


def _lost_videos(experiment: Experiment, workdir: Path, console: TextIO) -> LostVideos:
    """Writes the table of bad videos, and returns the object that counts the videos lost during the run."""

    def save(bad_videos: tuple[BadVideo, ...]) -> None:
        if jax.process_index() == 0:
            workdirs.write_bad_videos(workdir / "bad_videos.csv", bad_videos)

    source = experiment.source
    save(source.bad_videos)
    return LostVideos(source, max_bad_share=experiment.config.max_bad_share, write=console.write, save=save)


def _restore(
    make_state: Callable[[], TrainState], checkpoints: Checkpoints, layout: Layout, console: TextIO
) -> TrainState | None:
    """Restores the newest state that can be read, or returns None if no checkpoint was saved.

    Damaged checkpoints that are newer than the restored one are set aside.

    Raises:
      InputError: there are checkpoints, but none of them can be read.
    """
    damaged: dict[int, str] = {}
    for step in reversed(checkpoints.all_steps()):
        reason = None
        try:
            checkpoints.check(step, index=jax.process_index(), count=jax.process_count())
        except DamagedCheckpoint as error:
            reason = str(error)
        if meshes.in_any_process(reason is not None):  # each process has checked its share of the files
            damaged[step] = reason or f"checkpoint {step} is damaged, as another process found"
            continue
        for newer, reason in damaged.items():
            console.write(f"{reason}; the checkpoint before it is used\n")
            checkpoints.set_aside(newer)
        return checkpoints.restore(step, abstract_state(make_state, layout))
    if damaged:
        raise InputError(
            f"no checkpoint of this run can be read: {'; '.join(damaged.values())}. Nothing was changed. Restore the "
            "files, or start a new run in another --workdir"
        )
    return None


def _resolve(config: Config) -> dict[str, Any]:
    return as_json(typed.as_plain(with_absolute_paths(config)))


def _preprocessing(experiment: Experiment) -> dict[str, Any]:
    config = experiment.config
    parts = dataclasses.asdict(experiment.test_view) | {"input": config.clip.input}
    return as_json(parts | dataclasses.asdict(config.normalization))
