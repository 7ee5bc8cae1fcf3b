"""A trained network with all that is needed to use it, read from the work directory of its run."""

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
from vjax import workdirs
from vjax.config import Config, check_config
from vjax.data.transforms import TestView
from vjax.data.video import Source, Video, open_video
from vjax.errors import InputError
from vjax.evaluation.evaluate import Evaluation, evaluate
from vjax.evaluation.infer import ClipProbs, compile_infer
from vjax.evaluation.predict import Prediction, predict
from vjax.evaluation.probes import Probe
from vjax.experiment import make_init, open_config_source
from vjax.json_files import read_json
from vjax.spec import check_names
from vjax.training.checkpoint import Checkpoints
from vjax.training.step import TrainState, abstract_state


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network: what `load` returns.

    Attributes:
      workdir: work directory of its run.
      config: config of its run.
      class_names: names of the classes, in the order of its logits.
      network: maps clips to logits.
      state: state of the checkpoint, without the optimizer's.
      mesh: mesh of the devices.
    """

    workdir: Path
    config: Config
    class_names: tuple[str, ...]
    network: nn.Module
    state: TrainState
    mesh: Mesh

    @functools.cached_property
    def infer_clips(self) -> Callable[[Any], ClipProbs]:
        """Maps uint8 clips `(b t h w c)` to probabilities."""
        return compile_infer(self.network, self.config.normalization, self.mesh)(self.state.variables)

    @property
    def test_view(self) -> TestView:
        """What the run's evaluation sees of a video."""
        return self.config.test_view

    def open_source(self) -> Source:
        """Returns the videos of the run, those that it began with, split as in its training."""
        return workdirs.kept_source(self.workdir, open_config_source(self.config))

    def evaluate(
        self, source: Source | None = None, view: TestView | None = None, *, probe: Probe | None = None
    ) -> Evaluation:
        """Returns the evaluation on a source's test split.

        Args:
          source: videos; the run's own if not given.
          view: clips and crops of a video; the run's own if not given.
          probe: what is done to the views of a video before the network sees them (evaluation/probes.py).

        Raises:
          InputError: the source has other classes.
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
        """Returns the predictions for video files, or for videos that are open, in their order.

        Raises:
          VideoError: one of them cannot be read.
        """
        return predict(
            [video if isinstance(video, Video) else open_video(video) for video in videos],
            self.test_view if view is None else view,
            self.infer_clips,
            batch_size=self.config.test.batch_size,
            mesh=self.mesh,
        )


def load(
    workdir: str | Path, *, checkpoint: Literal["newest", "best"] = "newest", network: nn.Module | None = None
) -> Trained:
    """Returns the trained network of a work directory.

    Args:
      workdir: work directory of a run that has saved at least one checkpoint.
      checkpoint: "newest", or "best" for the one with the highest video@1 during training. The best one was chosen
        on the test split; a number measured on that split with it is too high.
      network: network of a run that trained one from outside.

    Raises:
      InputError: there is no run, or no checkpoint, or it does not fit its config or the network.
    """
    workdir = Path(workdir).expanduser()
    for name in ("config.json", "classes.json"):
        if not (workdir / name).exists():
            raise InputError(f"{workdir}: holds no run ({name} is missing); give the --workdir of a training run")
    check_names([checkpoint], ["newest", "best"], what="checkpoint")
    config = check_config(read_json(workdir / "config.json"))
    class_names = tuple(read_json(workdir / "classes.json"))
    if network is None:
        foreign = workdirs.read_foreign(workdir)
        if "network" in foreign:
            raise InputError(
                f"{workdir}: its network is not one of vjax but {foreign['network']}; give it, as in "
                "load(workdir, network=...)"
            )
        network = config.create_network(len(class_names))
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    step = checkpoints.latest_step() if checkpoint == "newest" else checkpoints.best_step()
    if step is None:
        raise InputError(f"{workdir}: has no checkpoint yet; train on with the same config and work directory")
    checkpoints.check(step)
    mesh = meshes.make_mesh()
    # Nothing here takes a step, so the optimizer's state is not read.
    make_state = make_init(config, network, optax.identity(), jax.random.key(0))
    like = dataclasses.replace(abstract_state(make_state, meshes.data_parallel(mesh)), opt_state=None)
    state = checkpoints.restore(step, like)
    checkpoints.close()
    return Trained(workdir, config, class_names, network, state, mesh)
