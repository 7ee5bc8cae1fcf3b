"""Every key that a config has, checked, and the objects that its sections describe."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from vjax import models, spec
from vjax.data.transforms import Mix, TestView, TrainView
from vjax.errors import InputError
from vjax.evaluation.infer import Normalization
from vjax.ops.frames import as_size
from vjax.ops.sampling import ClipTiming


@dataclasses.dataclass(frozen=True)
class Settings:
    """Every key that a config has, and no other.

    Attributes:
      seed: of parameters, order of data, views and made splits.
      source: `dict(name=..., ...)`, where videos come from (data/sources.py).
      held_out: comma-separated groups of videos that make the test split; empty where the source splits.
      clip: `dict(num_frames, size, and one of stride, fps, duration_s)`.
      augment: `dict(area, stretch, flip, rand_ops, rand_magnitude, jitter, erase)` (data/transforms.py, TrainView).
      mix: `dict(mixup, cutmix)` of the clips of a batch (data/transforms.py, Mix); alphas, 0 turns off.
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
    mix: Mapping[str, Any]
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
    def mixing(self) -> Mix:
        """How the clips of a training batch are mixed."""
        return spec.call(Mix, self.mix, what="config.mix")

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
            raise InputError(f"config.network needs a name; choose one of: {', '.join(models.NAMES)}")
        return models.create(num_classes=num_classes, **self.network)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}
