"""Configs: every key of a run with its type, default and range; config files; what the command line changes in them.

A config file is a Python file whose `get_config()` returns a `Config` that states what differs from the defaults.
`FILE:tiny` is the same, small enough for a test; `FILE:NAME` takes another function of the file. Any key is set by
`--config.a.b=value`, whether the file names it or not.
"""

import copy
import dataclasses
import inspect
import re
import runpy
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

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
from vjax.spec import Choice, KeepsResult, OneOf, Range, Table, check_names
from vjax.training.optim import OPTIMIZERS
from vjax.training.profile import ProfileWindow
from vjax.training.transfer import LayerRates, Origin

__all__ = [
    "Augment", "Choice", "Clip", "Config", "Mix", "Normalization", "Origin", "ProfileWindow", "Testing", "load_config",
]  # fmt: skip

PREFIX = "--config."
NO_DEFAULT = object()
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
      seed: seed of parameters, order of data, views and made splits.
      source: where videos come from: a name of `SOURCES` and its options.
      held_out: comma-separated groups of videos that make the test split; empty where the source splits.
      test_share: share of each class that a made split puts into test.
      max_bad_share: more unreadable videos than this share of all is an error.
      clip: what a clip is.
      augment: how the clips of training are varied.
      mix: how the clips of a training batch are mixed.
      normalization: mean and standard deviation of the channels, for frames in [0, 1].
      network: a name of `NETWORKS` and its options.
      init: the run whose network this one starts from.
      optimizer: a name of `OPTIMIZERS` and its options.
      layer_rates: factors on the learning rate by layer, "trunk=0.1,trunk/Conv_0=0"; 0 freezes.
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
      skip_bad: whether a step whose loss or gradient is not finite is left out; else it stops the run.
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
    init: Origin = Origin()
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
    skip_bad: Annotated[bool, _KEEPS] = False
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


def load_config(name: str, overrides: Sequence[str] = ()) -> Config:
    """Returns the config of a file, with changes.

    Args:
      name: `FILE`, `FILE:tiny`, or `FILE:FUNCTION`.
      overrides: `--config.key=value`, as on the command line.

    Raises:
      InputError: the file, the function, a key or a value does not work.
    """
    path, _, function = name.partition(":")
    config = check_config(_call_config(Path(path), function or "get_config"))
    return check_config(_apply(typed.as_plain(config), overrides, Config, prefix=PREFIX))


def override_choice(choice: Choice, table: Table[Any], overrides: Sequence[str], *, prefix: str) -> Choice:
    """Returns a choice with options set by `PREFIX` + `key=value`.

    Raises:
      InputError: an option is unknown or a value does not fit.
    """
    annotation = Annotated[Choice, table]
    plain = _apply(typed.as_plain(choice), overrides, annotation, prefix=prefix)
    return typed.conform_choice(plain, table, what=prefix.strip("-."))


def make_tiny(config: Config) -> Config:
    """Returns a config that is the same but so small that a test can train it."""
    height, width = config.size
    scale = 16 / min(height, width)
    return dataclasses.replace(
        config,
        source=_with_options(config.source, num_train=16, num_test=8),
        clip=dataclasses.replace(config.clip, num_frames=8, size=(round(height * scale), round(width * scale))),
        network=_with_options(config.network, trunk=Choice("small", widths=(4, 8, 8))),
        optimizer=_with_options(config.optimizer, warmup=1),
        test=dataclasses.replace(config.test, num_clips=2, batch_size=8),
        batch_size=8,
        length=4,
        log_every=1,
        evaluate_every=2,
        checkpoint_every=2,
    )


def _with_options(choice: Choice, **options: Any) -> Choice:
    """Returns a choice with other values of those options that it has."""
    return Choice(choice.name, **{key: options.get(key, value) for key, value in choice.options.items()})


class Row(NamedTuple):
    """A key of a config.

    Attributes:
      key: path of the key: "clip.size".
      value: value in the config.
      default: value where neither a file nor the command line gives one; `NO_DEFAULT` where one of them must.
      what: what the key says, from the docstring where it is defined.
    """

    key: str
    value: Any
    default: Any
    what: str


def list_keys(config: Config) -> list[Row]:
    """Returns every key of a checked config; the default of an option is that of the name that was chosen."""
    return _rows(Config, "", value=config, default=check_config(Config()), what="")


def _rows(annotation: Any, where: str, *, value: Any, default: Any, what: str) -> list[Row]:
    start = f"{where}." if where else ""
    table = _table(annotation)
    if table is not None:
        options, docs = table.options(value.name), typed.field_docs(table[value.name])
        names = f"{what or 'a name and its options'} One of: {', '.join(table)}."
        rows = [Row(f"{start}name", value.name, getattr(default, "name", None), names)]
        for key, option in value.options.items():
            given = {"value": option, "default": options[key].default, "what": docs.get(key, "")}
            rows += _rows(options[key].annotation, f"{start}{key}", **given)
        return rows
    if _is_section(annotation):
        rows, docs = [], typed.field_docs(type(value))
        for key, inner in typed.field_types(type(value)).items():
            given = {"value": getattr(value, key), "default": getattr(default, key), "what": docs.get(key, "")}
            rows += _rows(inner, f"{start}{key}", **given)
        return rows
    return [Row(where, value, NO_DEFAULT if default is inspect.Parameter.empty else default, what)]


def _table(annotation: Any) -> Table[Any] | None:
    return next((mark for mark in typed.marks(annotation) if isinstance(mark, Table)), None)


def _call_config(path: Path, function: str) -> Config:
    if not path.is_file():
        raise InputError(f"--config: there is no file {str(path)!r}; the ones that come with vjax are in configs/")
    try:
        found = runpy.run_path(str(path))
        functions = {key: value for key, value in found.items() if inspect.isfunction(value) and key.islower()}
        if "get_config" in functions:
            functions = {"tiny": lambda: make_tiny(check_config(functions["get_config"]()))} | functions
        check_names([function], functions, what=f"{path}")
        config = functions[function]()
    except (SyntaxError, NameError, AttributeError, KeyError, TypeError, ImportError) as error:
        _check_keyword(str(error), what=str(path))
        raise InputError(f"{path} does not work as a config: {type(error).__name__}: {error}") from error
    if not isinstance(config, Config):
        raise InputError(f"{path}: {function}() must return a vjax.Config, got {type(config).__name__}")
    return config


def _check_keyword(error: str, *, what: str) -> None:
    """Raises an InputError with the nearest key where a section was given one that it does not have."""
    found = re.match(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", error)
    sections = {cls.__name__: cls for cls in (Config, *typed.field_types(Config).values()) if inspect.isclass(cls)}
    if found and found[1] in sections:
        check_names([found[2]], typed.field_types(sections[found[1]]), what=f"{what}: {found[1]}")


def _apply(plain: dict[str, Any], overrides: Sequence[str], annotation: Any, *, prefix: str) -> dict[str, Any]:
    """Returns nested dicts with keys set by `PREFIX` + `key=value`; names first, since they decide the other keys."""
    plain, root = copy.deepcopy(plain), prefix.strip("-.")
    for override in overrides:
        if not override.startswith(prefix) or "=" not in override:
            raise InputError(f"{override!r} is not understood; a key of the {root} is set by {prefix}KEY=VALUE")
    texts = [override.removeprefix(prefix).partition("=")[::2] for override in overrides]
    texts.sort(key=lambda item: (not item[0].endswith(".name") and item[0] != "name", item[0].count(".")))
    for name, text in texts:
        _set(plain, name.split("."), text, annotation, where=root)
    return plain


def _set(plain: dict[str, Any], path: list[str], text: str, annotation: Any, *, where: str) -> None:
    table = _table(annotation)
    key, *rest = path
    if table is not None and key == "name" and not rest:
        _rename(plain, text, table, where=where)
        return
    annotations = _annotations(plain, annotation, table)
    check_names([key], annotations, what=where if table is None else f"{where} {plain['name']!r}")
    place = f"{where}.{key}"
    if not rest:
        if _is_section(annotations[key]):
            inner = f"{place}.name" if typed.marks(annotations[key]) else f"{place}.KEY"
            raise InputError(f"{place} is a section; set its keys one by one, as {inner}=...; got {text!r}")
        plain[key] = typed.parse(text, annotations[key], what=place)
    elif not _is_section(annotations[key]):
        raise InputError(f"{place} is a value, not a section; got {'.'.join(path)!r}")
    else:
        _set(plain[key], rest, text, annotations[key], where=place)


def _annotations(plain: Mapping[str, Any], annotation: Any, table: Table[Any] | None) -> dict[str, Any]:
    if table is not None:
        return {key: option.annotation for key, option in table.options(plain["name"]).items()}
    inner = typing.get_args(annotation)[0] if typed.marks(annotation) else annotation
    return typed.field_types(inner)


def _is_section(annotation: Any) -> bool:
    inner = typing.get_args(annotation)[0] if typed.marks(annotation) else annotation
    return dataclasses.is_dataclass(inner)


def _rename(plain: dict[str, Any], name: str, table: Table[Any], *, where: str) -> None:
    """Changes a choice's name; an option stays where the new name has the same one, with the same default."""
    check_names([name], table, what=where)
    old, new = table.options(plain["name"]), table.options(name)
    for key in list(plain):
        if key != "name" and (key not in new or new[key].default != old[key].default):
            del plain[key]
    plain["name"] = name
    for key, option in new.items():
        if key not in plain and option.default is not inspect.Parameter.empty:
            plain[key] = typed.as_plain(option.default)
