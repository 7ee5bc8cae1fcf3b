"""From a config to a run, and from its work directory to a trained network.

A work directory holds `config.json` (resolved), `classes.json`, `preprocessing.json`, `videos.csv`, `bad_videos.csv`,
`checkpoints/`, `metrics.jsonl`, TensorBoard's `events/`, and at the end `result.json`.
"""

import contextlib
import dataclasses
import functools
import itertools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from vjax import memory, spec, typed, workdirs
from vjax import mesh as meshes
from vjax.config import Config, check_config
from vjax.data import pipeline
from vjax.data.encode import write_frames
from vjax.data.lost import LostVideos, keep_videos, write_videos
from vjax.data.sources import open_source
from vjax.data.transforms import TestView
from vjax.data.video import BadVideo, Source
from vjax.errors import InputError
from vjax.evaluation.evaluate import Evaluation, evaluate
from vjax.evaluation.infer import ClipAnswers, Normalization, infer
from vjax.mesh import LAYOUTS, Layout
from vjax.ops.frames import tile_clips
from vjax.spec import Choice
from vjax.training.checkpoint import Checkpoints, DamagedCheckpoint
from vjax.training.loop import Intervals, run_loop
from vjax.training.optim import create_optimizer
from vjax.training.profile import Profiler
from vjax.training.step import TrainState, init_state, train_step
from vjax.training.step_cost import StepCost, step_cost
from vjax.training.transfer import Origin, take_over
from vjax.training.weights_and_biases import WeightsAndBiases
from vjax.training.writer import Console, JsonLines, TensorBoard

_GIF_FPS = 8.0
VIDEOS_FILE = "videos.csv"


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network with all that is needed to use it: what `load` returns.

    Attributes:
      workdir: it was read from.
      config: of its run.
      class_names: of its votes.
      network: maps clips to votes.
      state: of the checkpoint, without the optimizer's.
      mesh: of the devices.
    """

    workdir: Path
    config: Config
    class_names: tuple[str, ...]
    network: nn.Module
    state: TrainState
    mesh: Mesh

    @functools.cached_property
    def infer_clips(self) -> Callable[[Any], ClipAnswers]:
        """Maps uint8 clips `(b t h w c)` to answers."""
        return _compile_infer(self.network, self.config.normalization, self.mesh)(self.state)

    def evaluate(self, source: Source, view: TestView, *, shuffle_frames: bool = False) -> Evaluation:
        """Returns the evaluation on a source's test split."""
        workdirs.check_classes(self.class_names, source.class_names, where=str(self.workdir))
        return evaluate(
            source.test,
            view,
            self.infer_clips,
            batch_size=self.config.test.batch_size,
            num_workers=self.config.num_workers,
            mesh=self.mesh,
            shuffle_frames=shuffle_frames,
        )


def train(
    config: Config | Mapping[str, Any],
    workdir: str | Path,
    *,
    console: TextIO = sys.stderr,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Trains, evaluates, and returns the contents of `result.json`.

    A work directory that holds a cut-off run of the same config is continued where its newest checkpoint stands;
    one that holds a finished run is left alone and its result returned.

    Args:
      config: of the run; the contents of a `config.json` will do.
      workdir: where the run is kept.
      console: where progress is shown.
      should_stop: asked after every step, and between the batches of an evaluation, whether to save and stop.

    Raises:
      InputError: the config, the data or the work directory does not fit, or training cannot go on; nothing that
        was there is lost.
      Interrupted: it was asked to stop.
    """
    workdir = Path(workdir).expanduser()
    config = check_config(config)
    resolved = workdirs.as_json(typed.as_plain(config))
    workdirs.check_config(workdir, resolved)
    if finished := finished_result(workdir):
        return finished
    if jax.default_backend() == "cpu":
        memory.advise()
    with contextlib.ExitStack() as held:
        # Process 0 holds it for all.
        directory = workdirs.claimed(workdir) if jax.process_index() == 0 else contextlib.nullcontext()
        meshes.first_process_first(lambda: held.enter_context(directory))
        return _train(config, resolved, workdir, console, should_stop)


def _train(
    config: Config, resolved: dict[str, Any], workdir: Path, console: TextIO, should_stop: Callable[[], bool]
) -> dict[str, Any]:
    mesh = meshes.make_mesh()
    config.check_devices(mesh.size)
    layout = LAYOUTS[config.sharding](mesh)
    source = meshes.first_process_first(lambda: open_run_source(config, workdir))
    network = config.create_network(len(source.class_names))
    num_examples = len(source.train)
    num_steps = config.steps("length", num_examples=num_examples)
    layer_rates = config.rates
    optimizer, schedule = create_optimizer(
        config.optimizer_in_steps(num_examples=num_examples), num_steps=num_steps, layer_rates=layer_rates
    )
    train_view, test_view, mixing = config.train_view, config.test_view, config.mix
    origin = config.init
    init_key, step_key = jax.random.split(jax.random.key(config.seed))
    fresh = functools.partial(
        init_state, network, optimizer, key=init_key, clip_shape=test_view.shape[1:], keep_ema=config.ema_decay > 0
    )
    layer_rates.check(jax.eval_shape(fresh).params)
    writes = jax.process_index() == 0
    workdirs.check_kept_classes(workdir, source.class_names)
    checkpoints = Checkpoints(workdir / "checkpoints")
    state = _restore(fresh, checkpoints, layout, console)
    if state is None:
        state = jax.jit(fresh, out_shardings=layout.shardings(jax.eval_shape(fresh)))()
        if origin.workdir:
            state = _take_over(state, origin, source.class_names, layout, console)
    first = int(state.step)
    writers = []
    if writes and config.wandb_project:
        writers.append(WeightsAndBiases(workdir, project=config.wandb_project, config=resolved))
    # All that the config describes could be made: only now does the run take the work directory.
    if writes:
        workdirs.write_json(workdir / "classes.json", list(source.class_names))
        workdirs.write_json(workdir / "config.json", resolved)
        workdirs.write_json(workdir / "preprocessing.json", _preprocessing(config))
        if isinstance(source.train, list) and not (workdir / VIDEOS_FILE).exists():  # records have no files to lose
            write_videos(workdir / VIDEOS_FILE, source)
        writers += [
            JsonLines(workdir / "metrics.jsonl", start_step=first),
            TensorBoard(workdir / "events", start_step=first),
            Console(console, start_step=first, num_steps=num_steps),
            Profiler(workdir / "profile", config.profile, start_step=first),
        ]

    lost = _lost_videos(config, source, workdir, console, writes=writes)
    compiled_infer = _compile_infer(network, config.normalization, mesh)
    run_evaluation = functools.partial(
        evaluate,
        source.test,
        test_view,
        batch_size=config.test.batch_size,
        num_workers=config.num_workers,
        mesh=mesh,
        should_stop=should_stop,
    )
    batches = pipeline.train_batches(
        source.train,
        train_view,
        batch_size=config.batch_size,
        seed=config.seed,
        start_step=first,
        num_workers=config.num_workers,
        shard=pipeline.Shard(jax.process_index(), jax.process_count()),
        mix=mixing,
        report=lost.train,
    )
    if first == 0 and writes:
        first_batch = next(batches)
        write_frames(workdir / "first_batch.gif", tile_clips(first_batch["clips"]), fps=_GIF_FPS)
        batches = itertools.chain([first_batch], batches)
    evaluation = run_loop(
        state,
        batches,
        functools.partial(
            train_step,
            network=network,
            optimizer=optimizer,
            normalization=config.normalization,
            label_smoothing=config.label_smoothing,
            key=step_key,
            layout=layout,
            layer_rates=layer_rates,
            accumulate=config.accumulate,
            ema_decay=config.ema_decay,
            skip_bad=config.skip_bad,
        ),
        num_steps=num_steps,
        intervals=Intervals(
            log=config.steps("log_every", num_examples=num_examples),
            evaluate=config.steps("evaluate_every", num_examples=num_examples),
            checkpoint=config.steps("checkpoint_every", num_examples=num_examples),
        ),
        evaluate=lambda current: _with_losses_told(run_evaluation(compiled_infer(current)), source, lost),
        checkpoints=checkpoints,
        writers=writers,
        schedule=schedule,
        mesh=mesh,
        names=lambda positions: [source.train[int(position)].name for position in positions],
        should_stop=should_stop,
        skip_bad=config.skip_bad,
        accumulate=config.accumulate,
        data_timeout_s=config.data_timeout_s,
    )
    checkpoints.close()
    result = describe_result(evaluation, source, test_view)
    if writes:
        workdirs.write_json(workdir / "result.json", result)
    for writer in writers:  # last: wandb's may take its time
        writer.close()
    return result


def _lost_videos(config: Config, source: Source, workdir: Path, console: TextIO, *, writes: bool) -> LostVideos:
    """Returns where a run's lost videos are counted, and writes the table of bad videos."""

    def save(bad_videos: tuple[BadVideo, ...]) -> None:
        if writes:
            workdirs.write_bad_videos(workdir / "bad_videos.csv", bad_videos)

    save(source.bad_videos)
    return LostVideos(source, max_bad_share=config.max_bad_share, write=console.write, save=save)


def _with_losses_told(evaluation: Evaluation, source: Source, lost: LostVideos) -> Evaluation:
    for bad in lost_in_test(evaluation, source):
        lost.add(bad)
    return evaluation


def lost_in_test(evaluation: Evaluation, source: Source) -> list[BadVideo]:
    """Returns the test videos that an evaluation could not read; they count, as wrong."""
    return [BadVideo(source.test[position].name, "test", reason) for position, reason in evaluation.lost]


def load(workdir: str | Path, *, checkpoint: str = "newest") -> Trained:
    """Returns the trained network of a work directory.

    Args:
      workdir: of a run that has saved at least one checkpoint.
      checkpoint: "newest", or "best" for the one with the highest video@1 during training. The best one was chosen
        on the test split; a number measured on that split with it is too high.

    Raises:
      InputError: there is no run, or no checkpoint, or it does not fit its config.
    """
    workdir = Path(workdir).expanduser()
    for name in ("config.json", "classes.json"):
        if not (workdir / name).exists():
            raise InputError(f"{workdir}: holds no run ({name} is missing); give the --workdir of a training run")
    spec.check_names([checkpoint], ["newest", "best"], what="checkpoint")
    config = check_config(workdirs.read_json(workdir / "config.json"))
    class_names = tuple(workdirs.read_json(workdir / "classes.json"))
    mesh = meshes.make_mesh()
    network = config.create_network(len(class_names))
    fresh = functools.partial(
        init_state,
        network,
        _optimizer_of_one_step(config),
        key=jax.random.key(0),
        clip_shape=config.test_view.shape[1:],
        keep_ema=config.ema_decay > 0,
    )
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    step = checkpoints.latest_step() if checkpoint == "newest" else checkpoints.best_step()
    if step is None:
        raise InputError(f"{workdir}: has no checkpoint yet; train on with the same config and work directory")
    checkpoints.check(step)
    # Nothing here takes a step, so the optimizer's state is not read.
    like = dataclasses.replace(_abstract(fresh, meshes.data_parallel(mesh)), opt_state=None)
    state = checkpoints.restore(step, like)
    checkpoints.close()
    return Trained(workdir, config, class_names, network, state, mesh)


def describe_cost(config: Config, *, num_classes: int, num_devices: int) -> StepCost:
    """Returns what a step of a config's training costs; neither the devices nor the data need be there.

    Raises:
      InputError: the config does not work, or its batch does not fit the devices.
    """
    config = check_config(config)
    config.check_devices(num_devices)
    return step_cost(
        config.create_network(num_classes),
        _optimizer_of_one_step(config),
        clip_shape=config.test_view.shape[1:],
        batch_size=config.batch_size,
        num_devices=num_devices,
        sharding=config.sharding,
        accumulate=config.accumulate,
        keep_ema=config.ema_decay > 0,
    )


def open_run_source(config: Config, workdir: Path | None = None) -> Source:
    """Returns the videos of a run, split as in its training; with its work directory, those that it began with."""
    source = open_source(
        config.source,
        seed=config.seed,
        held_out=config.held_out,
        test_share=config.test_share,
        max_bad_share=config.max_bad_share,
    )
    if workdir is None or not (workdir / VIDEOS_FILE).exists():
        return source
    workdirs.check_kept_classes(workdir, source.class_names)
    return keep_videos(workdir / VIDEOS_FILE, source)


def finished_result(workdir: str | Path) -> dict[str, Any] | None:
    """Returns the result of a finished run, None where there is none."""
    path = Path(workdir) / "result.json"
    return workdirs.read_json(path) if path.exists() else None


def change_view(view: TestView, *, num_clips: int | None, num_crops: int | None) -> TestView:
    """Returns a view with another number of clips and crops, where one is given."""
    changes = {"num_clips": num_clips, "num_crops": num_crops}
    return dataclasses.replace(view, **{key: value for key, value in changes.items() if value is not None})


def describe_result(
    evaluation: Evaluation, source: Source, view: TestView, *, checkpoint: str = "newest checkpoint"
) -> dict[str, Any]:
    """Returns metrics with what they were measured on: the contents of `result.json`."""
    bad = sum(video.split == "test" for video in source.bad_videos)
    num_videos = len(source.test)
    lost = lost_in_test(evaluation, source)
    also = f", {len(lost)} lost since training began and counted as wrong" if lost else ""
    return evaluation.metrics | {
        "num_videos": num_videos,
        "bad_videos": bad,
        "bad_train_videos": len(source.bad_videos) - bad,
        "lost_videos": len(lost),
        "protocol": (
            f"{view.describe()}; mean of softmax over votes, clips and crops; test split {source.split}; "
            f"{num_videos} of {num_videos + bad} videos, {bad} unreadable{also}; {checkpoint}"
        ),
    }


def _optimizer_of_one_step(config: Config) -> optax.GradientTransformation:
    """Returns an optimizer that takes no step: its state has the structure that it has for every length of run."""
    options = {key: 0 if key == "warmup" else value for key, value in config.optimizer.options.items()}
    return create_optimizer(Choice(config.optimizer.name, **options), num_steps=1, layer_rates=config.rates)[0]


def _compile_infer(
    network: nn.Module, normalization: Normalization, mesh: Mesh
) -> Callable[[TrainState], Callable[[Any], ClipAnswers]]:
    """Returns what turns a state into a function from global clips to answers on every device; compiled once."""
    jitted = jax.jit(
        functools.partial(infer, network, normalization=normalization), out_shardings=meshes.replicated(mesh)
    )
    return lambda state: functools.partial(jitted, state.variables)


def _abstract(fresh: Callable[[], TrainState], layout: Layout) -> TrainState:
    shapes = jax.eval_shape(fresh)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        layout.shardings(shapes),
    )


def _restore(
    fresh: Callable[[], TrainState], checkpoints: Checkpoints, layout: Layout, console: TextIO
) -> TrainState | None:
    """Returns the newest state that can be read, None where none was saved; newer ones are then set aside.

    Raises:
      InputError: none of those that were saved can be read.
    """
    damaged: dict[int, str] = {}
    for step in reversed(checkpoints.all_steps()):
        reason = None
        try:
            checkpoints.check(step, index=jax.process_index(), count=jax.process_count())
        except DamagedCheckpoint as error:
            reason = str(error)
        if meshes.in_any_process(reason is not None):  # each has looked at its share
            damaged[step] = reason or f"checkpoint {step} is damaged, as another process has found"
            continue
        for newer, reason in damaged.items():
            console.write(f"{reason}; the one before it is taken\n")
            checkpoints.set_aside(newer)
        return checkpoints.restore(step, _abstract(fresh, layout))
    if damaged:
        raise InputError(
            f"no checkpoint of this run can be read: {'; '.join(damaged.values())}. Nothing was changed. If the files "
            "cannot be had back, another --workdir starts anew"
        )
    return None


def _take_over(
    state: TrainState, origin: Origin, class_names: tuple[str, ...], layout: Layout, console: TextIO
) -> TrainState:
    """Returns a fresh state with the network of another run."""
    trained = load(origin.workdir, checkpoint=origin.checkpoint)
    fresh = {"params": state.params, "batch_stats": state.batch_stats}
    variables, stay = take_over(
        fresh, trained.state.variables, same_classes=trained.class_names == class_names, where=origin.workdir
    )
    variables = jax.jit(lambda tree: tree, out_shardings=layout.shardings(fresh))(variables)
    if jax.process_index() == 0:
        said = f"the network of {origin.workdir} at step {int(trained.state.step)}"
        console.write(f"starts from {said}; fresh: {', '.join(stay) or 'nothing'}\n")
    # A copy: a step gives up the buffers of both.
    ema = jax.tree.map(jnp.copy, variables["params"]) if state.ema else {}
    return dataclasses.replace(state, ema=ema, **variables)


def _preprocessing(config: Config) -> dict[str, Any]:
    return workdirs.as_json(dataclasses.asdict(config.test_view) | dataclasses.asdict(config.normalization))
