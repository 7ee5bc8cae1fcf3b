"""A trained network and everything that is needed to use it, loaded from the work directory of its run."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
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
from vjax.data.transforms import TestView
from vjax.data.video import Source, Video, open_video
from vjax.errors import InputError
from vjax.evaluation.evaluate import Evaluation, evaluate
from vjax.evaluation.features import Features, compile_features, extract_features
from vjax.evaluation.infer import ClipProbs, compile_infer
from vjax.evaluation.predict import Prediction, predict
from vjax.evaluation.probes import Probe
from vjax.experiment import make_init, open_config_source
from vjax.json_files import read_json
from vjax.models import NETWORKS
from vjax.models.card import card_of
from vjax.models.cost import count_parameters
from vjax.models.registry import cards
from vjax.spec import Choice, check_names
from vjax.text import Advance, show_nothing
from vjax.training.checkpoint import Checkpoints
from vjax.training.convert import to_torch
from vjax.training.step import TrainState, abstract_state
from vjax.weights.write import check_output, write_weights

_SHOWN = 5  # class names in a `repr`


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
    """

    workdir: Path
    config: Config
    class_names: tuple[str, ...]
    network: nn.Module
    test_view: TestView
    state: TrainState
    mesh: Mesh

    def __repr__(self) -> str:
        names = ", ".join(self.class_names[:_SHOWN]) + (", ..." if len(self.class_names) > _SHOWN else "")
        return (
            f"Trained({str(self.workdir)!r}): {type(self.network).__name__}, step {int(self.state.step):,}, "
            f"{count_parameters(self.state.params):,} parameters\n"
            f"  {len(self.class_names)} classes: {names}\n"
            f"  tests on {self.test_view.describe()}"
        )

    @functools.cached_property
    def infer_clips(self) -> Callable[[Any], ClipProbs]:
        """Function that maps uint8 clips `(b t h w c)` to their probabilities."""
        return compile_infer(self.network, self.config.normalization, self.mesh)(self.state.variables)

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
        return evaluate(
            source.test,
            self.test_view if view is None else view,
            self.infer_clips,
            batch_size=self.config.test.batch_size,
            num_workers=self.config.num_workers,
            mesh=self.mesh,
            probe=probe,
        )

    def predict(self, videos: Sequence[str | Path | Video], *, view: TestView | None = None) -> list[Prediction]:
        """Returns a prediction for each video, in the given order.

        Args:
          videos: paths of video files, or opened videos.
          view: clips and crops of a video; those of the run if not given.

        Raises:
          VideoError: a video cannot be read.
        """
        return predict(
            [video if isinstance(video, Video) else open_video(video) for video in videos],
            self.test_view if view is None else view,
            self.infer_clips,
            batch_size=self.config.test.batch_size,
            mesh=self.mesh,
        )

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
            compile_features(self.network, self.config.normalization, self.mesh)(self.state.variables),
            batch_size=self.config.test.batch_size,
            mesh=self.mesh,
        )


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
    preprocessing = read_json(workdir / "preprocessing.json")
    view = {key: preprocessing[key] for key in typed.field_types(TestView) if key in preprocessing}
    test_view = typed.conform_dataclass(view, TestView, what=f"{workdir}/preprocessing.json")
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
    return Trained(workdir, config, class_names, network, test_view, state, mesh)


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
