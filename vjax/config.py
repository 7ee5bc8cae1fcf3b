"""The config of a run: every key with its type, default and range."""

import dataclasses
import os
import typing
from collections.abc import Mapping
from typing import Annotated, Any

import flax.linen as nn

from vjax import typed
from vjax.data.sources import SOURCES
from vjax.data.splits import SplitRule
from vjax.data.transforms import Augment, Mix, TestView, TrainView
from vjax.errors import InputError
from vjax.mesh import LAYOUTS
from vjax.models import NETWORKS
from vjax.ops.clip_input import ClipInput, InputKind, Normalization
from vjax.ops.frames import as_size
from vjax.ops.length import Length, to_steps
from vjax.ops.sampling import ClipTiming
from vjax.spec import Choice, KeepsResult, OneOf, Range
from vjax.training.init_from import InitFrom
from vjax.training.layer_rates import LayerRates
from vjax.training.optim import OPTIMIZERS
from vjax.training.pretrained import with_absolute_file
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
    """The frames of a clip: how many, how far apart, and how large.

    Attributes:
      num_frames: number of frames in a clip.
      stride: step from one frame of the clip to the next, in source frames; it ignores the video's frame rate.
      fps: frames per second of the clip; at 12.5 fps, every second frame of a 25 fps video is read.
      duration_s: duration of the clip in seconds; set exactly one of stride, fps and duration_s.
      size: height and width of the clip in pixels, as one number for a square or as (height, width).
      input: what the network sees of a clip: "rgb" for its frames, "difference" for the change from frame to frame,
        "foreground" for the difference from the median of its frames.
    """

    size: Annotated[int | tuple[int, int], Range(1)] = 112
    input: InputKind = "rgb"


@dataclasses.dataclass(frozen=True)
class Testing:
    """How evaluation and prediction sample a video.

    Attributes:
      num_clips: number of clips per video, spread evenly over it.
      num_crops: number of crops per clip: 1 (the middle of the frame) or 3 (spread along its longer side).
      crop_share: side of the test crop as a share of the largest crop that fits the frame.
      batch_size: number of videos in a test batch, over all devices.
    """

    __test__ = False  # pytest would take the class for a test

    num_clips: Annotated[int, Range(1)] = 5
    num_crops: typing.Literal[1, 3] = 1
    crop_share: Annotated[float, Range(above=0, at_most=1)] = 1.0
    batch_size: Annotated[int, Range(1)] = 16


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a run.

    A length is a number of steps, or a text such as "30 epochs" or "100000 examples".

    Attributes:
      seed: random seed of the initial parameters, the data order, the views and a random split.
      source: source of the videos: a name from `SOURCES` and its options.
      held_out: comma-separated groups of videos that form the test split; empty to use the source's own split, or a
        random one if it has none.
      test_share: share of each class that a random split puts into the test split.
      val_share: share of each class that is kept out of training for choices such as the best checkpoint, if the
        dataset gives no validation split; 0 for none. A class that is too small has no validation videos.
      keep_split: work directory of another run, or CSV file with the columns name (or path) and split, whose split is
        kept instead of any other; new videos join by a hash of their group. Empty for none.
      max_bad_share: largest share of unreadable videos; more of them are an error.
      clip: frames of a clip.
      augment: data augmentation of the training clips.
      mix: mixup and cutmix of the training batches.
      normalization: mean and standard deviation of the channels, for frames in [0, 1].
      network: network to train: a name from `NETWORKS` and its options.
      init: weights that the run starts from; random ones if not set.
      optimizer: optimizer with its learning rate schedule: a name from `OPTIMIZERS` and its options.
      layer_rates: factors on the learning rate by layer, such as "backbone=0.1,backbone/Conv_0=0"; 0 freezes a layer.
      freeze_norms: whether batch norms use and keep the statistics that they start with, in training too.
      head_warmup: length of the start of the run in which only the classifier learns; 0 for none.
      label_smoothing: share of the target that is spread evenly over all classes.
      class_balance: balance of classes of different size: "weights" in the loss, "sampling" to draw every class equally
        often, or "none".
      batch_size: number of clips in a training batch, over all devices.
      length: length of the run: a number of steps, or a text such as "30 epochs" or "100000 examples".
      test: clips and crops of evaluation and prediction.
      log_every: interval between log lines: a number of steps, or a text such as "1 epoch".
      evaluate_every: interval between evaluations: a number of steps, or a text such as "1 epoch"; each evaluation
        also saves a checkpoint.
      checkpoint_every: interval between checkpoints: a number of steps, or a text such as "1 epoch".
      num_workers: number of processes that read videos; 0 reads them in threads.
      data_timeout_s: time in seconds after which a run that gets no batch stops with an error.
      sharding: layout of the training state: "data" keeps all of it on every device, "fsdp" keeps only a part of every
        large array on each device.
      accumulate: number of parts that a batch is split into; they go through the network one after the other, and
        their mean gradient is used.
      ema_decay: decay of the moving average of the parameters, which evaluation and prediction use; 0 turns it off.
      skip_nonfinite: whether to skip a step whose loss or gradient is not finite; otherwise such a step stops the run.
      wandb_project: Weights & Biases project that receives the metrics of the run; empty for none.
      profile: steps to profile for TensorBoard.
    """

    seed: Annotated[int, Range(0, below=2**32)] = 0
    source: Annotated[Choice, SOURCES] = Choice("videos", root="")
    held_out: str = ""
    test_share: Annotated[float, Range(above=0, below=1)] = 0.2
    val_share: Share = 0.1
    keep_split: str = ""
    max_bad_share: Annotated[float, Range(0, at_most=1)] = 0.1
    clip: Clip = Clip(fps=5.0)
    augment: Augment = Augment()
    mix: Mix = Mix()
    normalization: Normalization = Normalization()
    network: Annotated[Choice, NETWORKS] = Choice("slow_fusion")
    init: InitFrom = InitFrom()
    optimizer: Annotated[Choice, OPTIMIZERS] = Choice("adamw", learning_rate=5e-3, warmup=100)
    layer_rates: str = ""
    freeze_norms: bool = False
    head_warmup: Length = 0
    label_smoothing: Share = 0.0
    class_balance: typing.Literal["none", "weights", "sampling"] = "none"
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
        """Raises an InputError if a training batch cannot be split over `num_devices` devices."""
        if num_devices < 1:
            raise InputError(f"a batch needs 1 device or more, got {num_devices}")
        if self.batch_size % num_devices:
            raise InputError(
                f"config.batch_size must be a multiple of the {num_devices} device(s), got {self.batch_size}"
            )
        rows = self.batch_size // num_devices
        if rows % self.accumulate:
            raise InputError(
                f"config.accumulate must divide the {rows} row(s) of a batch on each device; got {self.accumulate}"
            )

    def steps(self, key: str, *, num_examples: int) -> int:
        """Returns a length of the config in steps, at least 1; only "head_warmup" may be 0.

        Args:
          key: name of the length, one of `LENGTHS`.
          num_examples: number of training videos, which is the length of an epoch.

        Raises:
          InputError: the length is shorter than one step.
        """
        what, length = f"config.{key}", getattr(self, key)
        found = to_steps(length, batch_size=self.batch_size, num_examples=num_examples, what=what)
        if found < 1 and key != "head_warmup":
            raise InputError(f"{what} must be 1 step or more, got {length!r}")
        return found

    def optimizer_in_steps(self, *, num_examples: int) -> Choice:
        """Returns the optimizer choice, with its warm-up converted to steps."""
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
        """Number of frames in a clip and their spacing in time."""
        clip = self.clip
        return ClipTiming(clip.num_frames, clip.stride, clip.fps, clip.duration_s)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a clip in pixels."""
        return as_size(self.clip.size)

    @property
    def clip_input(self) -> ClipInput:
        """Conversion of a clip to the network's input."""
        return ClipInput(self.clip.input, self.normalization)

    @property
    def train_view(self) -> TrainView:
        """The random view of a video that training takes."""
        return TrainView(self.timing, self.size, self.augment)

    @property
    def test_view(self) -> TestView:
        """The clips and crops of a video that evaluation and prediction use."""
        return TestView(self.timing, self.size, self.test.num_clips, self.test.num_crops, self.test.crop_share)

    @property
    def rates(self) -> LayerRates:
        """Factors on the learning rate by layer."""
        return LayerRates.parse(self.layer_rates)

    @property
    def split_rule(self) -> SplitRule:
        """How the videos are split if the source does not say it."""
        return SplitRule(self.seed, self.held_out, self.test_share, self.val_share, self.keep_split)

    def with_network(self, name: str) -> "Config":
        """Returns a config with another network, which keeps the options that it has with the same default."""
        if name == self.network.name:
            return self
        kept = NETWORKS.shared_options(self.network.name, name)
        options = {key: value for key, value in self.network.options.items() if key in kept}
        return dataclasses.replace(self, network=Choice(name, **options))

    def create_network(self, num_classes: int) -> nn.Module:
        """Creates the network that the config names."""
        return NETWORKS.create(self.network, num_classes=num_classes)


# Options of sources that are paths.
PATHS = ("root", "annotations", "data_dir")


def with_absolute_paths(config: Config) -> Config:
    """Returns a config whose paths are absolute, so that they mean the same in every folder."""

    def absolute(path: str) -> str:
        return os.path.abspath(os.path.expanduser(path)) if path and "://" not in path else path

    options = {key: absolute(value) if key in PATHS else value for key, value in config.source.options.items()}
    return dataclasses.replace(
        config,
        source=Choice(config.source.name, **options),
        keep_split=absolute(config.keep_split),
        init=dataclasses.replace(config.init, weights=with_absolute_file(config.init.weights, absolute)),
    )


LENGTHS = ("length", "head_warmup", "log_every", "evaluate_every", "checkpoint_every")
CHANGEABLE = tuple(key for key, annotation in typed.field_types(Config).items() if _KEEPS in typed.marks(annotation))


def check_config(config: Config | Mapping[str, Any]) -> Config:
    """Checks a config and fills in all options of its choices.

    Args:
      config: config, or plain data such as the content of a `config.json`.

    Raises:
      InputError: a key or a value is wrong; the message names the key.
    """
    checked = typed.conform_dataclass(config, Config, what="config")
    for key in LENGTHS:
        checked.steps(key, num_examples=1)
    checked.optimizer_in_steps(num_examples=1)
    # Compute these once, so that an error in them is raised before a run takes its work directory.
    for name in ("train_view", "test_view", "rates", "split_rule"):
        getattr(checked, name)
    return checked
