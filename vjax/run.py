"""From a config to a run: the only library module that knows configs and work directories.

A work directory holds `config.json` (resolved), `classes.json`, `preprocessing.json`, `bad_videos.csv`,
`checkpoints/`, `metrics.jsonl`, TensorBoard's `events/`, and at the end `result.json`.
"""

import csv
import dataclasses
import functools
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import flax.linen as nn
import jax
from jax.sharding import Mesh

from vjax import mesh as meshes
from vjax import models, spec
from vjax.data import pipeline
from vjax.data.sources import BadVideo, Source, open_source
from vjax.data.transforms import TestView, TrainView
from vjax.errors import InputError
from vjax.evaluation.evaluate import Evaluation, evaluate
from vjax.evaluation.infer import ClipAnswers, Normalization, infer
from vjax.ops.frames import as_size
from vjax.ops.sampling import ClipTiming
from vjax.training.checkpoint import Checkpoints
from vjax.training.loop import Intervals, run_loop
from vjax.training.optim import create_optimizer
from vjax.training.step import TrainState, init_state, train_step
from vjax.training.writer import Console, JsonLines, TensorBoard


@dataclasses.dataclass(frozen=True)
class Settings:
    """Every key that a config has, and no other.

    Attributes:
      seed: of parameters, order of data, views and made splits.
      source: `dict(name=..., ...)`, where videos come from (data/sources.py).
      held_out: comma-separated groups of videos that make the test split; empty where the source splits.
      clip: `dict(num_frames, size, and one of stride, fps, duration_s)`.
      augment: `dict(area, stretch, flip)` (data/transforms.py, TrainView).
      normalization: `dict(mean, std)` of the channels, for frames in [0, 1].
      network: `dict(name=..., trunk=dict(name=..., ...), ...)` (models/).
      optimizer: `dict(name=..., learning_rate=..., ...)` (training/optim.py).
      label_smoothing: share of the target spread over all classes.
      batch_size: clips in a step, over all devices.
      num_steps: of the whole run.
      test: `dict(num_clips, num_crops, batch_size)`; videos at a time, over all devices.
      log_every: steps from one line of numbers to the next.
      evaluate_every: steps from one evaluation (and checkpoint) to the next.
      checkpoint_every: steps from one checkpoint to the next.
      num_workers: processes that read videos; 0 reads in threads.
    """

    seed: int
    source: Mapping[str, Any]
    held_out: str
    clip: Mapping[str, Any]
    augment: Mapping[str, Any]
    normalization: Mapping[str, Any]
    network: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    label_smoothing: float
    batch_size: int
    num_steps: int
    test: Mapping[str, Any]
    log_every: int
    evaluate_every: int
    checkpoint_every: int
    num_workers: int

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> "Settings":
        """Returns the settings a plain config describes; raises an InputError that names what is off."""
        settings = spec.call(cls, config, what="the config")
        for key in ("batch_size", "num_steps", "log_every", "evaluate_every", "checkpoint_every"):
            if getattr(settings, key) < 1:
                raise InputError(f"config.{key} must be 1 or more, got {getattr(settings, key)}")
        if "batch_size" not in settings.test:
            raise InputError("config.test needs a value for: batch_size")
        num_devices = jax.device_count()
        for key, size in (("batch_size", settings.batch_size), ("test.batch_size", settings.test["batch_size"])):
            if size < 1 or size % num_devices:
                raise InputError(f"config.{key} must be a multiple of the {num_devices} device(s), got {size}")
        return settings

    @property
    def timing(self) -> ClipTiming:
        """How much time a clip covers."""
        return spec.call(ClipTiming, _without(self.clip, "size"), what="config.clip")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a clip."""
        if "size" not in self.clip:
            raise InputError("config.clip needs a size: pixels of a side, or (height, width)")
        return as_size(self.clip["size"])

    @property
    def train_view(self) -> TrainView:
        """What training sees of a video."""
        augment = {key: _as_tuple(value) for key, value in self.augment.items()}
        return spec.call(TrainView, augment, what="config.augment", timing=self.timing, size=self.size)

    @property
    def test_view(self) -> TestView:
        """What evaluation and prediction see of a video."""
        chosen = _without(self.test, "batch_size")
        return spec.call(TestView, chosen, what="config.test", timing=self.timing, size=self.size)

    @property
    def channels(self) -> Normalization:
        """Mean and standard deviation of the channels."""
        values = {key: _as_tuple(value) for key, value in self.normalization.items()}
        return spec.call(Normalization, values, what="config.normalization")

    def create_network(self, num_classes: int) -> nn.Module:
        """Returns the network."""
        if "name" not in self.network:
            raise InputError(f"config.network needs a name; choose one of: {', '.join(models.MODELS)}")
        return models.create(num_classes=num_classes, **self.network)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network with all that is needed to use it: what `load` returns.

    Attributes:
      workdir: it was read from.
      settings: of its run.
      class_names: of its votes.
      network: maps clips to votes.
      state: of the checkpoint.
      mesh: of the devices.
    """

    workdir: Path
    settings: Settings
    class_names: tuple[str, ...]
    network: nn.Module
    state: TrainState
    mesh: Mesh

    @functools.cached_property
    def infer_clips(self) -> Callable[[Any], ClipAnswers]:
        """Maps uint8 clips `(b t h w c)` to answers."""
        return _compile_infer(self.network, self.settings.channels, self.mesh)(self.state)

    def evaluate(self, source: Source, view: TestView, *, shuffle_frames: bool = False) -> Evaluation:
        """Returns the evaluation on a source's test split."""
        _check_classes(self.class_names, source.class_names, where=str(self.workdir))
        return evaluate(
            source.test,
            view,
            self.infer_clips,
            batch_size=self.settings.test["batch_size"],
            num_workers=self.settings.num_workers,
            mesh=self.mesh,
            shuffle_frames=shuffle_frames,
        )


def train(config: Mapping[str, Any], workdir: str | Path, *, console: TextIO = sys.stderr) -> dict[str, Any]:
    """Trains, evaluates, and returns the contents of `result.json`.

    A work directory that holds a cut-off run of the same config is continued where its newest checkpoint stands;
    one that holds a finished run is left alone and its result returned.

    Args:
      config: every key of `Settings`, as plain data.
      workdir: where the run is kept.
      console: where progress is shown.

    Raises:
      InputError: the config, the data or the work directory does not fit; nothing that was there is lost.
    """
    workdir = Path(workdir).expanduser()
    settings = Settings.parse(config)
    resolved = _as_json(dataclasses.asdict(settings))
    _claim_workdir(workdir, resolved)
    if finished := finished_result(workdir):
        return finished

    source = open_run_source(settings)
    _keep_classes(workdir, source.class_names)
    _write_json(workdir / "preprocessing.json", _preprocessing(settings))
    _write_bad_videos(workdir / "bad_videos.csv", source.bad_videos)

    mesh = meshes.make_mesh()
    network = settings.create_network(len(source.class_names))
    optimizer, schedule = create_optimizer(settings.optimizer, num_steps=settings.num_steps)
    init_key, step_key = jax.random.split(jax.random.key(settings.seed))
    clip_shape = settings.test_view.shape[1:]
    fresh = functools.partial(init_state, network, optimizer, key=init_key, clip_shape=clip_shape)
    checkpoints = Checkpoints(workdir / "checkpoints")
    state = _restore_or_start(fresh, checkpoints, mesh)
    first = int(state.step)

    compiled_infer = _compile_infer(network, settings.channels, mesh)
    run_evaluation = functools.partial(
        evaluate,
        source.test,
        settings.test_view,
        batch_size=settings.test["batch_size"],
        num_workers=settings.num_workers,
        mesh=mesh,
    )
    batches = pipeline.train_batches(
        source.train,
        settings.train_view,
        batch_size=settings.batch_size,
        seed=settings.seed,
        start_step=first,
        num_workers=settings.num_workers,
        shard=pipeline.Shard(jax.process_index(), jax.process_count()),
    )
    writers = [
        JsonLines(workdir / "metrics.jsonl", start_step=first),
        TensorBoard(workdir / "events", start_step=first),
        Console(console, start_step=first, num_steps=settings.num_steps),
    ]
    evaluation = run_loop(
        state,
        batches,
        functools.partial(
            train_step,
            network=network,
            optimizer=optimizer,
            normalization=settings.channels,
            label_smoothing=settings.label_smoothing,
            key=step_key,
        ),
        num_steps=settings.num_steps,
        intervals=Intervals(settings.log_every, settings.evaluate_every, settings.checkpoint_every),
        evaluate=lambda current: run_evaluation(compiled_infer(current)),
        checkpoints=checkpoints,
        writers=writers,
        schedule=schedule,
        mesh=mesh,
    )
    for writer in writers:
        writer.close()
    checkpoints.close()
    result = describe_result(evaluation, source, settings.test_view)
    _write_json(workdir / "result.json", result)
    return result


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
    settings = Settings.parse(_read_json(workdir / "config.json"))
    class_names = tuple(_read_json(workdir / "classes.json"))
    mesh = meshes.make_mesh()
    network = settings.create_network(len(class_names))
    optimizer, _ = create_optimizer(settings.optimizer, num_steps=settings.num_steps)
    fresh = functools.partial(
        init_state, network, optimizer, key=jax.random.key(0), clip_shape=settings.test_view.shape[1:]
    )
    checkpoints = Checkpoints(workdir / "checkpoints")
    step = checkpoints.latest_step() if checkpoint == "newest" else checkpoints.best_step()
    if step is None:
        raise InputError(f"{workdir}: has no checkpoint yet; train on with the same config and work directory")
    state = checkpoints.restore(step, _abstract(fresh, mesh))
    checkpoints.close()
    return Trained(workdir, settings, class_names, network, state, mesh)


def open_run_source(settings: Settings) -> Source:
    """Returns the videos of a run, split as in its training."""
    return open_source(settings.source, seed=settings.seed, held_out=settings.held_out)


def finished_result(workdir: str | Path) -> dict[str, Any] | None:
    """Returns the result of a finished run, None where there is none."""
    path = Path(workdir) / "result.json"
    return _read_json(path) if path.exists() else None


def change_view(view: TestView, *, num_clips: int | None, num_crops: int | None) -> TestView:
    """Returns a view with another number of clips and crops, where one is given."""
    changes = {"num_clips": num_clips, "num_crops": num_crops}
    return dataclasses.replace(view, **{key: value for key, value in changes.items() if value is not None})


def describe_result(
    evaluation: Evaluation, source: Source, view: TestView, *, checkpoint: str = "newest"
) -> dict[str, Any]:
    """Returns metrics with what they were measured on: the contents of `result.json`."""
    bad = sum(video.split == "test" for video in source.bad_videos)
    num_videos = len(source.test)
    return evaluation.metrics | {
        "num_videos": num_videos,
        "bad_videos": bad,
        "bad_train_videos": len(source.bad_videos) - bad,
        "protocol": (
            f"{view.describe()}; mean of softmax over votes, clips and crops; test split {source.split}; "
            f"{num_videos} of {num_videos + bad} videos, {bad} unreadable; {checkpoint} checkpoint"
        ),
    }


def _compile_infer(
    network: nn.Module, normalization: Normalization, mesh: Mesh
) -> Callable[[TrainState], Callable[[Any], ClipAnswers]]:
    """Returns what turns a state into a function from global clips to answers on every device; compiled once."""
    jitted = jax.jit(
        functools.partial(infer, network, normalization=normalization), out_shardings=meshes.replicated(mesh)
    )
    return lambda state: functools.partial(jitted, state.variables)


def _abstract(fresh: Callable[[], TrainState], mesh: Mesh) -> TrainState:
    whole = meshes.replicated(mesh)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), jax.eval_shape(fresh)
    )


def _restore_or_start(fresh: Callable[[], TrainState], checkpoints: Checkpoints, mesh: Mesh) -> TrainState:
    step = checkpoints.latest_step()
    if step is None:
        return jax.jit(fresh, out_shardings=meshes.replicated(mesh))()
    return checkpoints.restore(step, _abstract(fresh, mesh))


def _claim_workdir(workdir: Path, resolved: dict[str, Any]) -> None:
    """Writes the config into a new work directory, or checks that it is the one already there."""
    path = workdir / "config.json"
    if path.exists():
        differing = _differences(_read_json(path), resolved)
        if differing:
            raise InputError(
                f"{workdir} holds a run of another config ({'; '.join(differing)}); choose another --workdir, or "
                "remove this one to start anew"
            )
        return
    workdir.mkdir(parents=True, exist_ok=True)
    _write_json(path, resolved)


def _differences(there: Any, here: Any, where: str = "config") -> list[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        keys = sorted(there.keys() | here.keys())
        return [line for key in keys for line in _differences(there.get(key), here.get(key), f"{where}.{key}")]
    return [] if there == here else [f"{where} is {there!r} there and {here!r} here"]


def _keep_classes(workdir: Path, class_names: tuple[str, ...]) -> None:
    path = workdir / "classes.json"
    if path.exists():
        _check_classes(tuple(_read_json(path)), class_names, where=str(workdir))
    else:
        _write_json(path, list(class_names))


def _check_classes(there: tuple[str, ...], here: tuple[str, ...], *, where: str) -> None:
    if there != here:
        gone, new = sorted(set(there) - set(here)), sorted(set(here) - set(there))
        raise InputError(
            f"the class list of the data does not fit the one of {where}: {len(here)} classes, not {len(there)}; "
            f"missing {gone}, new {new}; use the data it was trained on, or another work directory"
        )


def _preprocessing(settings: Settings) -> dict[str, Any]:
    return _as_json(dataclasses.asdict(settings.test_view) | settings.channels._asdict())


def _write_bad_videos(path: Path, bad_videos: tuple[BadVideo, ...]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([field.name for field in dataclasses.fields(BadVideo)])
        writer.writerows(dataclasses.astuple(video) for video in bad_videos)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def _write_json(path: Path, content: Any) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(temporary, path)


def _as_json(content: Any) -> Any:
    """Returns the content as reading it back gives it: tuples become lists."""
    return json.loads(json.dumps(content))


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}
