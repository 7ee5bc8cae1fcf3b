"""A trained network and everything that is needed to use it, loaded from the work directory of its run."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import optax
from jax.sharding import Mesh

from vjax import mesh as meshes
from vjax import typed, workdirs
from vjax.config import PATHS, Config, check_config
from vjax.data.sources import list_files
from vjax.data.splits import SPLIT_FILE, is_drawn, read_splits
from vjax.data.stream import StreamFrame
from vjax.data.transforms import TestView
from vjax.data.video import Source, Video, open_video
from vjax.errors import InputError
from vjax.evaluation.calibration import Calibration, read_calibration
from vjax.evaluation.evaluate import Evaluation, evaluate
from vjax.evaluation.features import Features, compile_features, extract_features
from vjax.evaluation.follow import StreamWindow, follow
from vjax.evaluation.infer import ClipProbs, compile_infer
from vjax.evaluation.predict import Prediction, Predictions, predict_each
from vjax.evaluation.probes import Probe
from vjax.evaluation.timeline import Timeline, make_timeline
from vjax.evaluation.windows import Inference, WindowProbs, check_hop, compile_windows
from vjax.experiment import make_init, open_config_source
from vjax.html.page import Section, Table, render_fragment
from vjax.json_files import read_json
from vjax.models import NETWORKS
from vjax.models.card import card_of
from vjax.models.cost import count_parameters
from vjax.models.registry import cards
from vjax.spec import Choice, check_names
from vjax.text import Advance, show_nothing
from vjax.training.checkpoint import Checkpoints
from vjax.training.convert import to_torch
from vjax.training.curves import curves_section
from vjax.training.step import TrainState, abstract_state
from vjax.weights.write import check_output, write_weights

_SHOWN = 5  # class names in a `repr`

Watch = Callable[[Callable[[Any], Any]], Callable[[Any], Any]]


def as_it_is(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Returns a function unchanged; the `Watch` unless the caller gives another one."""
    return call


@dataclasses.dataclass(frozen=True, repr=False)
class Trained:
    """A trained network, as returned by `load`.

    Attributes:
      workdir: work directory of the run.
      config: config of the run.
      class_names: names of the classes, in the order of the logits.
      network: linen module that maps clips `(b t h w c)` to logits `(b v k)`.
      test_view: clips and crops of a video that the run's evaluation used.
      state: training state of the checkpoint, without the optimizer state.
      mesh: device mesh.
      calibration: temperature that was fitted on the validation split; None if the state was not measured there.
    """

    workdir: Path
    config: Config
    class_names: tuple[str, ...]
    network: nn.Module
    test_view: TestView
    state: TrainState
    mesh: Mesh
    calibration: Calibration | None = None

    def __repr__(self) -> str:
        names = ", ".join(self.class_names[:_SHOWN]) + (", ..." if len(self.class_names) > _SHOWN else "")
        return (
            f"Trained({str(self.workdir)!r}): {type(self.network).__name__}, step {int(self.state.step):,}, "
            f"{count_parameters(self.state.params):,} parameters\n"
            f"  {len(self.class_names)} classes: {names}\n"
            f"  tests on {self.test_view.describe()}"
        )

    def _repr_html_(self) -> str:
        """Returns the run as a part of a page, for notebooks."""
        result = workdirs.finished_result(self.workdir)
        said = "The run is not finished."
        if result is not None:
            low, high = result["video@1_interval"]
            said = f"video@1 {result['video@1']:.3f} (95 % interval {low:.3f} to {high:.3f}); {result['protocol']}."
        sections = [
            Section("facts", "", said, [Table("facts", ["", "value"], self.facts())]),
            dataclasses.replace(curves_section(self.workdir), title=""),
        ]
        return render_fragment(title=f"{self.workdir}: {self.network_name}", sections=sections)

    @property
    def network_name(self) -> str:
        """Name of the network: that of the config, or of its class if it comes from outside the package."""
        foreign = "network" in workdirs.read_foreign(self.workdir)
        return type(self.network).__name__ if foreign else self.config.network.name

    def facts(self) -> list[tuple[str, str]]:
        """Returns names and values of what the network is and what it was trained on."""
        return [
            ("network", type(self.network).__name__),
            ("parameters", f"{count_parameters(self.state.params):,}"),
            ("steps", f"{int(self.state.step):,}"),
            ("classes", f"{len(self.class_names):,}"),
            ("test", self.test_view.describe()),
            ("input of the network", self.config.clip.input),
        ]

    @functools.cached_property
    def infer_clips(self) -> Callable[[Any], ClipProbs]:
        """Function that maps uint8 clips `(b t h w c)` to their probabilities."""
        return compile_infer(self.network, self.config.clip_input, self.mesh)(self.state.variables)

    @functools.cached_property
    def window_inference(self) -> Inference:
        """Inference on windows that slide over a video; overlapping windows share the features of frames."""
        compiled = compile_windows(self.network, self.config.clip_input, self.mesh)
        return compiled(self.state.variables, self.infer_clips)

    def open_source(self, choice: Choice | None = None, *, advance: Advance = show_nothing) -> Source:
        """Opens the videos that the run began with, split as in training.

        Args:
          choice: place where these videos are now, or other videos of the same classes. Of other videos without a given
            split, all are for test.
          advance: progress callback; gets the number of indexed videos and the number of all videos.

        Raises:
          InputError: the videos are missing, or their classes are not those of the run.
        """
        if choice is None:
            config = workdirs.with_own_split(self.workdir, self.config)
            return workdirs.kept_source(self.workdir, open_config_source(config, advance=advance))
        # The groups that the run held out and the split that it kept mean nothing for other videos.
        config = dataclasses.replace(self.config, source=choice, held_out="", keep_split="", val_share=0.0)
        table = self.workdir / SPLIT_FILE
        files = list_files(choice)
        if table.exists() and not read_splits(table).keys().isdisjoint(file.name for file in files or ()):
            config = dataclasses.replace(config, keep_split=str(table))
        source = open_config_source(config, advance=advance)
        differing = [
            f"{key}={value}" for key, value in choice.options.items() if self.config.source.options.get(key) != value
        ]
        place = f"{choice.name} with {', '.join(differing) or 'the same options'}"
        if self._has_videos_of_run(choice, source, has_names=files is not None):
            kept = workdirs.kept_source(self.workdir, source)
            return dataclasses.replace(kept, split=f"{kept.split}, read from {place}")
        split, bad_videos = source.split, source.bad_videos
        if is_drawn(source.split):
            every = [of_split[i] for of_split in (source.train, source.val, source.test) for i in range(len(of_split))]
            bad_videos = tuple(dataclasses.replace(bad, split="test") for bad in bad_videos)
            source, split = dataclasses.replace(source, test=every), "of all videos"
        return dataclasses.replace(
            source, split=f"{split}, of other data than the run's: {place}", bad_videos=bad_videos
        )

    def _has_videos_of_run(self, choice: Choice, source: Source, *, has_names: bool) -> bool:
        """Tells whether a source, opened from a choice, has the videos that the run began with."""
        if has_names and (self.workdir / SPLIT_FILE).exists():
            return workdirs.are_videos_of_run(self.workdir, source)
        # Without names, the options tell, but for the place.
        here, there = (
            {key: value for key, value in found.options.items() if key not in PATHS}
            for found in (choice, self.config.source)
        )
        return (choice.name, here) == (self.config.source.name, there)

    def evaluate(
        self, source: Source | None = None, view: TestView | None = None, *, probe: Probe | None = None
    ) -> Evaluation:
        """Evaluates the network on the test split of a source.

        Args:
          source: source of the videos; that of the run if not given.
          view: clips and crops of a video; those of the run if not given.
          probe: function that changes the views of a video before inference (evaluation/probes.py).

        Raises:
          InputError: the source has other classes than the run.
        """
        source = self.open_source() if source is None else source
        workdirs.check_classes(self.class_names, source.class_names, where=str(self.workdir))
        found = evaluate(
            source.test,
            self.test_view if view is None else view,
            self.infer_clips,
            batch_size=self.config.test.batch_size,
            num_workers=self.config.num_workers,
            mesh=self.mesh,
            probe=probe,
        )
        return dataclasses.replace(found, class_names=self.class_names)

    def predict(self, videos: Sequence[str | Path | Video], *, view: TestView | None = None) -> Predictions:
        """Returns a prediction for each video, in the given order; see `predict_each`."""
        return Predictions(self.predict_each(videos, view=view))

    def predict_each(
        self, videos: Sequence[str | Path | Video], *, view: TestView | None = None, watch: Watch = as_it_is
    ) -> Iterator[Prediction]:
        """Yields a prediction for each video, in the given order, with the temperature of the calibration.

        Args:
          videos: paths of video files, or opened videos.
          view: clips and crops of a video; those of the run if not given.
          watch: wrapper of the function that computes probabilities, such as one that measures its time.

        Raises:
          VideoError: a video cannot be read.
        """
        return predict_each(
            [video if isinstance(video, Video) else open_video(video) for video in videos],
            self.test_view if view is None else view,
            watch(self.infer_clips),
            batch_size=self.config.test.batch_size,
            mesh=self.mesh,
            class_names=self.class_names,
            calibration=self.calibration,
        )

    def timeline(
        self,
        path: str | Path,
        *,
        hop: int | None = None,
        watch: Watch = as_it_is,
        advance: Callable[[float], None] = lambda seconds: None,
    ) -> Timeline:
        """Returns the probabilities of a video file over time, with the temperature of the calibration.

        Args:
          path: video file; its length does not matter.
          hop: frames of a clip from one window to the next; half of the clip if not given.
          watch: wrapper of the function that computes probabilities, such as one that measures its time.
          advance: progress callback; gets the seconds of the video that are done.

        Raises:
          InputError: the hop is below 1.
          VideoError: not one frame of the file can be read.
        """
        return make_timeline(
            path,
            self.test_view,
            _Watched(self.window_inference, watch),
            hop=self.hop(hop),
            batch_size=self.config.test.batch_size,
            class_names=self.class_names,
            calibration=self.calibration,
            advance=advance,
        )

    def follow(
        self, frames: Iterable[StreamFrame], *, hop: int | None = None, watch: Watch = as_it_is
    ) -> Iterator[StreamWindow]:
        """Yields the probabilities of a stream over time, while it comes; the arguments are as above.

        Raises:
          InputError: the hop is below 1.
          VideoError: the stream breaks off.
        """
        return follow(
            frames,
            _Watched(self.window_inference, watch),
            num_frames=self.test_view.timing.num_frames,
            hop=self.hop(hop),
            calibration=self.calibration,
        )

    def hop(self, hop: int | None) -> int:
        """Returns the frames of a clip from one window to the next: half of the clip for None.

        Raises:
          InputError: the hop is below 1.
        """
        if hop is None:
            return max(1, self.test_view.timing.num_frames // 2)
        check_hop(hop)
        return hop

    def threshold(self, precision: float) -> float:
        """Returns the lowest probability from which on predictions are right with a precision; others are unknown.

        Raises:
          InputError: the state was not measured on a validation split, or its videos cannot show this precision.
        """
        if self.calibration is None:
            raise InputError(
                f"{self.workdir}: its threshold is not known, because the checkpoint was not measured on a validation "
                "split; use the newest checkpoint of a finished run with a validation split, made with this version"
            )
        return self.calibration.threshold(precision)

    def features(self, videos: Sequence[str | Path | Video], *, view: TestView | None = None) -> Features:
        """Returns the features of videos, in the given order: the input of the network's classifier.

        Args:
          videos: paths of video files, or opened videos; at least one.
          view: clips and crops of a video; those of the run if not given.

        Raises:
          InputError: there are no videos, or the network has no layer `head/logits`.
          VideoError: a video cannot be read.
        """
        return extract_features(
            [video if isinstance(video, Video) else open_video(video) for video in videos],
            self.test_view if view is None else view,
            compile_features(self.network, self.config.clip_input, self.mesh)(self.state.variables),
            batch_size=self.config.test.batch_size,
            mesh=self.mesh,
        )


@dataclasses.dataclass(frozen=True)
class _Watched:
    """Inference on windows with a wrapper around its functions."""

    inference: Inference
    watch: Watch

    def start(self, *, rows: int, hop: int) -> WindowProbs:
        return self.watch(self.inference.start(rows=rows, hop=hop))


def load(
    workdir: str | Path, *, checkpoint: Literal["newest", "best"] = "newest", network: nn.Module | None = None
) -> Trained:
    """Loads the trained network of a work directory.

    Args:
      workdir: work directory of a run that has saved at least one checkpoint.
      checkpoint: "newest", or "best" for the one with the highest video@1 on the validation split.
      network: network of the run, if it comes from outside the package.

    Raises:
      InputError: there is no run or no checkpoint, or the checkpoint does not fit the config or the network.
    """
    # The config and the classes of the run.
    workdir = Path(workdir).expanduser()
    for name in ("config.json", "classes.json", "preprocessing.json"):
        if not (workdir / name).exists():
            raise InputError(f"{workdir}: holds no run ({name} is missing); give the --workdir of a training run")
    check_names([checkpoint], ["newest", "best"], what="checkpoint")
    config = check_config(read_json(workdir / "config.json"))
    class_names = tuple(read_json(workdir / "classes.json"))
    test_view = read_test_view(workdir)
    # The network: the caller must pass one from outside the package, because the config does not describe it.
    if network is None:
        foreign = workdirs.read_foreign(workdir)
        if "network" in foreign:
            raise InputError(
                f"{workdir}: its network comes from outside vjax: {foreign['network']}; pass it, as in "
                "load(workdir, network=...)"
            )
        network = config.create_network(len(class_names))
    # The checkpoint.
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    step = checkpoints.latest_step() if checkpoint == "newest" else checkpoints.best_step()
    if step is None and checkpoints.latest_step() is not None:
        raise InputError(
            f"{workdir}: no checkpoint was evaluated on a validation split, so none is the best; use the newest one, "
            "or train with a validation split (config.val_share)"
        )
    if step is None:
        raise InputError(f"{workdir}: has no checkpoint yet; continue training with the same config and work directory")
    checkpoints.check(step)
    mesh = meshes.make_mesh()
    # The state. The optimizer state is not read, because nothing here takes a training step.
    make_state = make_init(config, network, optax.identity(), view=test_view, key=jax.random.key(0))
    like = dataclasses.replace(abstract_state(make_state, meshes.data_parallel(mesh)), opt_state=None)
    state = checkpoints.restore(step, like)
    checkpoints.close()
    calibration = read_calibration(workdir, step=int(state.step))
    return Trained(workdir, config, class_names, network, test_view, state, mesh, calibration)


def read_test_view(folder: Path) -> TestView:
    """Returns the test view that `preprocessing.json` of a run, or of an exported folder, describes.

    Raises:
      InputError: it describes none.
    """
    path = folder / "preprocessing.json"
    try:
        preprocessing = read_json(path)
        view = {key: preprocessing[key] for key in typed.field_types(TestView) if key in preprocessing}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); restore the file, or make the folder again") from error
    return typed.conform_dataclass(view, TestView, what=str(path))


def save_weights(trained: Trained, path: str | Path) -> None:
    """Writes the variables of a trained network as the tensors of its form in PyTorch.

    `network.load_state_dict(safetensors.torch.load_file(path))` reads them in PyTorch, and `config.init.weights` in
    vjax. They are the averaged parameters if the run kept an average. The class names, the normalization and the
    frame rate are not in the file; they are in the files of the work directory.

    Args:
      trained: trained network.
      path: file to write; its ending, `.safetensors` or `.npz`, chooses the form.

    Raises:
      InputError: the names of the network's tensors in PyTorch are not known, or the file cannot be written.
    """
    check_output(path)
    config, card = trained.config, card_of(NETWORKS[trained.config.network.name])
    foreign = config.create_network(len(trained.class_names)) != trained.network
    if foreign or card is None or card.torch_names is None:
        named = [name for name, card in cards().items() if card.torch_names is not None and name in NETWORKS]
        raise InputError(
            f"the names that PyTorch gives to the tensors of the network of {trained.workdir} are not known; they are "
            f"for these networks: {', '.join(named)}. Its variables are load(workdir).state.variables"
        )
    variables = jax.device_get(trained.state.variables)
    write_weights(path, to_torch(variables, card.torch_names(variables), convolutions=card.torch_convolutions))
