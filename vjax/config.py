"""Every key of a run, with its type, default and range."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Annotated, Any

import flax.linen as nn

from vjax import typed
from vjax.data.sources import SOURCES
from vjax.data.transforms import Augment, Mix, TestView, TrainView
from vjax.errors import InputError
from vjax.evaluation.infer import Normalization
from vjax.mesh import LAYOUTS
from vjax.models import NETWORKS
from vjax.ops.frames import as_size
from vjax.ops.length import Length, to_steps
from vjax.ops.sampling import ClipTiming
from vjax.spec import Choice, KeepsResult, OneOf, Range
from vjax.training.init_from import InitFrom
from vjax.training.layer_rates import LayerRates
from vjax.training.optim import OPTIMIZERS
from vjax.training.profile import ProfileWindow

__all__ = [
    "Augment",
    "Choice",
    "Clip",
    "Config",
    "InitFrom",
    "Mix",
    "Normalization",
    "ProfileWindow",
    "Testing",
]  # fmt: skip

_KEEPS = KeepsResult()

Share = Annotated[float, Range(0, below=1)]


@dataclasses.dataclass(frozen=True)
class Clip(ClipTiming):
    """What a clip is: its frames, how far they lie apart, and how large they are.

    Attributes:
      num_frames: frames of a clip.
      stride: source frames from one frame of the clip to the next, whatever the video's frame rate.
      fps: frames per second of the clip; a 25 fps video at 12.5 fps is read with a step of 2.
      duration_s: seconds that the clip covers. Exactly one of stride, fps and duration_s is given.
      size: pixels of a side, or (height, width).
    """

    size: int | tuple[int, int] = 112


@dataclasses.dataclass(frozen=True)
class Testing:
    """How a network is tested.

    Attributes:
      num_clips: clips spread over a whole video.
      num_crops: crops of a clip: 1, the middle of the frame, or 3, spread along its longer side.
      batch_size: videos at a time, over all devices.
    """

    __test__ = False  # for pytest: a section on testing, not a test

    num_clips: Annotated[int, Range(1)] = 5
    num_crops: typing.Literal[1, 3] = 1
    batch_size: Annotated[int, Range(1)] = 16


@dataclasses.dataclass(frozen=True)
class Config:
    """Every key of a run.

    A length is a number of steps, or a text such as "30 epochs" or "100000 examples".

    Attributes:
      seed: seed of parameters, order of data, views and random splits.
      source: where videos come from: a name of `SOURCES` and its options.
      held_out: comma-separated groups of videos that make the test split; empty where the source splits.
      test_share: share of each class that a random split puts into test.
      max_bad_share: more unreadable videos than this share of all is an error.
      clip: what a clip is.
      augment: how the clips of training are varied.
      mix: how the clips of a training batch are mixed.
      normalization: mean and standard deviation of the channels, for frames in [0, 1].
      network: a name of `NETWORKS` and its options.
      init: the run whose network this one starts from.
      optimizer: a name of `OPTIMIZERS` and its options.
      layer_rates: factors on the learning rate by layer, "backbone=0.1,backbone/Conv_0=0"; 0 freezes.
      label_smoothing: share of the target that is spread over all classes.
      batch_size: clips in a step, over all devices.
      length: length of the whole run.
      test: how the network is tested.
      log_every: length from one line of numbers to the next.
      evaluate_every: length from one evaluation, and its checkpoint, to the next.
      checkpoint_every: length from one checkpoint to the next.
      num_workers: processes that read videos; 0 reads in threads.
      data_timeout_s: seconds that training waits for a batch before it stops.
      sharding: "data" keeps the whole state on every device, "fsdp" a part of it on each.
      accumulate: parts of a batch that go through the network one after the other.
      ema_decay: decay of the moving average of the parameters, which is then what is evaluated; 0 keeps none.
      skip_nonfinite: whether a step whose loss or gradient is not finite is left out; else it stops the run.
      wandb_project: project on Weights & Biases that gets the numbers of the run; empty for none.
      profile: the steps of which a profile is written for TensorBoard.
    """

    seed: Annotated[int, Range(0, below=2**32)] = 0
    source: Annotated[Choice, SOURCES] = Choice("videos", root="")
    held_out: str = ""
    test_share: Annotated[float, Range(above=0, below=1)] = 0.2
    max_bad_share: Annotated[float, Range(0, at_most=1)] = 0.1
    clip: Clip = Clip(fps=5.0)
    augment: Augment = Augment()
    mix: Mix = Mix()
    normalization: Normalization = Normalization()
    network: Annotated[Choice, NETWORKS] = Choice("slow_fusion")
    init: InitFrom = InitFrom()
    optimizer: Annotated[Choice, OPTIMIZERS] = Choice("adamw", learning_rate=5e-3, warmup=100)
    layer_rates: str = ""
    label_smoothing: Share = 0.0
    batch_size: Annotated[int, Range(1)] = 16
    length: Length = 2000
    test: Testing = Testing()
    log_every: Annotated[Length, _KEEPS] = 20
    evaluate_every: Annotated[Length, _KEEPS] = 500
    checkpoint_every: Annotated[Length, _KEEPS] = 100
    num_workers: Annotated[int, Range(0), _KEEPS] = 0
    data_timeout_s: Annotated[float, Range(above=0), _KEEPS] = 600.0
    sharding: Annotated[str, OneOf(LAYOUTS), _KEEPS] = "data"
    accumulate: Annotated[int, Range(1)] = 1
    ema_decay: Share = 0.0
    skip_nonfinite: Annotated[bool, _KEEPS] = False
    wandb_project: Annotated[str, _KEEPS] = ""
    profile: Annotated[ProfileWindow, _KEEPS] = ProfileWindow()

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

    def optimizer_in_steps(self, *, num_examples: int) -> Choice:
        """Returns the optimizer with its warm-up in steps."""
        options = dict(self.optimizer.options)
        if "warmup" in options:
            options["warmup"] = to_steps(
                options["warmup"],
                batch_size=self.batch_size,
                num_examples=num_examples,
                what="config.optimizer.warmup",
            )
        return Choice(self.optimizer.name, **options)

    @property
    def timing(self) -> ClipTiming:
        """How much time a clip covers."""
        clip = self.clip
        return ClipTiming(clip.num_frames, clip.stride, clip.fps, clip.duration_s)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a clip."""
        return as_size(self.clip.size)

    @property
    def train_view(self) -> TrainView:
        """What training sees of a video."""
        return TrainView(self.timing, self.size, self.augment)

    @property
    def test_view(self) -> TestView:
        """What evaluation and prediction see of a video."""
        return TestView(self.timing, self.size, self.test.num_clips, self.test.num_crops)

    @property
    def rates(self) -> LayerRates:
        """How fast each layer learns."""
        return LayerRates.parse(self.layer_rates)

    def create_network(self, num_classes: int) -> nn.Module:
        """Returns the network."""
        return NETWORKS.create(self.network, num_classes=num_classes)


CHANGEABLE = tuple(key for key, annotation in typed.field_types(Config).items() if _KEEPS in typed.marks(annotation))


def check_config(config: Config | Mapping[str, Any]) -> Config:
    """Returns a config with all options of its choices, checked; takes plain data, such as a `config.json`, too.

    Raises:
      InputError: a key or a value is wrong; the message names the key.
    """
    checked = typed.conform_dataclass(config, Config, what="config")
    for key in ("length", "log_every", "evaluate_every", "checkpoint_every"):
        checked.steps(key, num_examples=1)
    checked.optimizer_in_steps(num_examples=1)
    # A run takes its work directory only after everything that the config says was read once.
    for name in ("train_view", "test_view", "rates"):
        getattr(checked, name)
    return checked
