"""Every key that a config has, checked, and the objects that its sections describe."""

import dataclasses
import numbers
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn

from vjax import models, spec
from vjax.data.transforms import Mix, TestView, TrainView
from vjax.errors import InputError
from vjax.evaluation.infer import Normalization
from vjax.mesh import LAYOUTS
from vjax.ops.frames import as_size
from vjax.ops.length import Length, to_steps
from vjax.ops.sampling import ClipTiming
from vjax.training.profile import ProfileWindow
from vjax.training.transfer import LayerRates, Origin


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
      init: `dict(workdir, checkpoint)` of another run, whose network this one starts from; empty for none.
      optimizer: `dict(name=..., learning_rate=..., ...)` (training/optim.py).
      layer_rates: factors on the learning rate by layer, "trunk=0.1,trunk/Conv_0=0" (training/transfer.py).
      label_smoothing: share of the target spread over all classes.
      batch_size: clips in a step, over all devices.
      length: of the whole run. This one and the three below are numbers of steps, or texts such as "30 epochs" and
        "100000 examples" (ops/length.py).
      test: `dict(num_clips, num_crops, batch_size)`; videos at a time, over all devices.
      log_every: from one line of numbers to the next.
      evaluate_every: from one evaluation (and checkpoint) to the next.
      checkpoint_every: from one checkpoint to the next.
      num_workers: processes that read videos; 0 reads in threads.
      data_timeout_s: how long training waits for a batch before it stops.
      sharding: "data" keeps the whole state on every device, "fsdp" a part of it on each (mesh.py).
      accumulate: parts of a batch that go through the network one after the other.
      ema_decay: of the moving average of the parameters, which is then what is evaluated; 0 keeps none.
      skip_bad: whether a step whose loss or gradient is not finite is left out; else it stops the run.
      wandb_project: on Weights & Biases, for the numbers of the run; empty for none.
      profile: `dict(start, num_steps)`, the steps of which a profile is written for TensorBoard.
    """

    seed: int
    source: Mapping[str, Any]
    held_out: str
    clip: Mapping[str, Any]
    augment: Mapping[str, Any]
    mix: Mapping[str, Any]
    normalization: Mapping[str, Any]
    network: Mapping[str, Any]
    init: Mapping[str, str]
    optimizer: Mapping[str, Any]
    layer_rates: str
    label_smoothing: float
    batch_size: int
    length: Length
    test: Mapping[str, Any]
    log_every: Length
    evaluate_every: Length
    checkpoint_every: Length
    num_workers: int
    data_timeout_s: float
    sharding: str
    accumulate: int
    ema_decay: float
    skip_bad: bool
    wandb_project: str
    profile: Mapping[str, int]

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> "Settings":
        """Returns the settings a plain config describes; raises an InputError that names what is off."""
        settings = spec.call(cls, config, what="the config")
        for key, number in _NUMBERS.items():
            number.check(getattr(settings, key), what=f"config.{key}")
        if "batch_size" not in settings.test:
            raise InputError("config.test needs a value for: batch_size")
        _NUMBERS["batch_size"].check(settings.test["batch_size"], what="config.test.batch_size")
        for key in ("length", "log_every", "evaluate_every", "checkpoint_every"):
            settings.steps(key, num_examples=1)
        if not isinstance(settings.skip_bad, bool):
            raise InputError(f"config.skip_bad is True or False, got {settings.skip_bad!r}")
        spec.check_names([settings.sharding], LAYOUTS, what="config.sharding")
        # A run takes its work directory only after all sections were read once.
        for name in ("train_view", "test_view", "mixing", "channels", "origin", "rates", "profiled"):
            getattr(settings, name)
        return settings

    def check_devices(self, num_devices: int) -> None:
        """Raises an InputError unless so many devices can share a batch of training."""
        if num_devices < 1:
            raise InputError(f"a batch needs 1 device or more, got {num_devices}")
        if self.batch_size % num_devices:
            raise InputError(
                f"config.batch_size must be a multiple of the {num_devices} device(s), got {self.batch_size}"
            )
        rows = self.batch_size // num_devices
        if rows % self.accumulate:
            raise InputError(
                f"config.accumulate must divide the {rows} rows of a batch that each device has; got {self.accumulate}"
            )

    def steps(self, key: str, *, num_examples: int) -> int:
        """Returns a length of the config in steps, 1 or more, given how many examples an epoch has."""
        what, length = f"config.{key}", getattr(self, key)
        found = to_steps(length, batch_size=self.batch_size, num_examples=num_examples, what=what)
        if found < 1:
            raise InputError(f"{what} must be 1 step or more, got {length!r}")
        return found

    def optimizer_in_steps(self, *, num_examples: int) -> dict[str, Any]:
        """Returns the optimizer's section with its warm-up in steps."""
        warmup = self.optimizer.get("warmup", 0)
        in_steps = to_steps(
            warmup, batch_size=self.batch_size, num_examples=num_examples, what="config.optimizer.warmup"
        )
        return {**self.optimizer, "warmup": in_steps}

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
    def origin(self) -> Origin:
        """The run that this one starts from."""
        return spec.call(Origin, self.init, what="config.init")

    @property
    def rates(self) -> LayerRates:
        """How fast each layer learns."""
        return LayerRates.parse(self.layer_rates)

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
    def profiled(self) -> ProfileWindow:
        """Which steps are profiled."""
        return spec.call(ProfileWindow, self.profile, what="config.profile")

    @property
    def channels(self) -> Normalization:
        """Mean and standard deviation of the channels."""
        values = {key: _as_tuple(value) for key, value in self.normalization.items()}
        found = spec.call(Normalization, values, what="config.normalization")
        for key, values in found._asdict().items():
            known = isinstance(values, tuple) and all(_is_number(value) for value in values)
            if not known or len(values) != 3 or (key == "std" and min(values) <= 0):
                above = " above 0" if key == "std" else ""
                raise InputError(
                    f"config.normalization.{key} is 3 numbers{above}, one for each channel; got {values!r}"
                )
        return found

    def create_network(self, num_classes: int) -> nn.Module:
        """Returns the network."""
        if "name" not in self.network:
            raise InputError(f"config.network needs a name; choose one of: {', '.join(models.NAMES)}")
        return models.create(num_classes=num_classes, **self.network)


class _Number(NamedTuple):
    """What a number of the config may be.

    Attributes:
      allowed: the range, in words that follow "must".
      fits: tells whether a number is in it.
      whole: whether it must be a whole number.
    """

    allowed: str
    fits: Callable[[float], bool]
    whole: bool = True

    def check(self, value: Any, *, what: str) -> None:
        """Raises an InputError unless the value is such a number."""
        if not _is_number(value) or (self.whole and not isinstance(value, numbers.Integral)):
            raise InputError(f"{what} is a {'whole ' if self.whole else ''}number, got {value!r}")
        if not self.fits(float(value)):
            raise InputError(f"{what} must {self.allowed}, got {value}")


_NUMBERS = {
    "seed": _Number("lie in [0, 2**32)", lambda value: 0 <= value < 2**32),
    "batch_size": _Number("be 1 or more", lambda value: value >= 1),
    "num_workers": _Number("be 0 or more", lambda value: value >= 0),
    "accumulate": _Number("be 1 or more", lambda value: value >= 1),
    "label_smoothing": _Number("lie in [0, 1)", lambda value: 0 <= value < 1, whole=False),
    "ema_decay": _Number("lie in [0, 1)", lambda value: 0 <= value < 1, whole=False),
    "data_timeout_s": _Number("be above 0", lambda value: value > 0, whole=False),
}


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}
