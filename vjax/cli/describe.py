"""`vjax describe`: describes a network layer by layer, and what a clip and a training step take."""

import argparse
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax

from vjax.cli.arguments import CONFIG_HELP, SET_A_KEY
from vjax.cli.models import network_of_card
from vjax.config import Config
from vjax.config_file import PREFIX, load_config
from vjax.errors import InputError
from vjax.models.cost import Layer, count_parameters, describe_layers
from vjax.preprocessing import bind_preprocessing
from vjax.step_plan import describe_cost, plan_step
from vjax.text import format_table, terminal_width, wrap

_CLASSES = 10  # of a config, whose dataset is not opened
_VIDEO_SIZES = ((640, 480), (1920, 1080))
_VIDEO_FPS = 30


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "describe",
        help="describe a network layer by layer, and the memory of a training step",
        description="Describes a network layer by layer: output, receptive field, parameters, multiply-adds and "
        "memory. With --config, it also describes a clip and a training step on each device. It needs neither the data "
        "nor the devices.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="a name from vjax models, in place of --config")
    parser.add_argument("--config", metavar="FILE", help=CONFIG_HELP)
    parser.add_argument(
        "--classes",
        type=int,
        metavar="K",
        help=f"number of classes (default: {_CLASSES} with --config; with NAME, the number it was published with)",
    )
    parser.add_argument(
        "--devices", type=int, metavar="N", help="number of devices that share a batch (default: all of this machine)"
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="also compile the training step for all devices of this machine, and print the memory that XLA plans",
    )
    parser.set_defaults(command=run, overridden=PREFIX)
    parser.epilog = SET_A_KEY


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Prints the layers of a network, and the cost of a step if there is a config."""
    if (args.name is None) == (args.config is None):
        raise InputError("vjax describe takes a name from vjax models or --config FILE; give one of the two")
    if args.name is not None:
        if overrides or args.devices or args.compile:
            raise InputError("--config.KEY, --devices and --compile need --config FILE, which says how to train")
        network, clip_shape = network_of_card(args.name, num_classes=args.classes)
        _print(_layer_lines(network, clip_shape))
        return
    config, _ = bind_preprocessing(load_config(args.config, overrides))
    num_classes = _CLASSES if args.classes is None else args.classes
    num_devices = jax.device_count() if args.devices is None else args.devices
    if args.compile and num_devices != jax.device_count():
        raise InputError(f"--compile is for the {jax.device_count()} device(s) of this machine; leave out --devices")
    cost = describe_cost(config, num_classes=num_classes, num_devices=num_devices)
    _print(_layer_lines(config.create_network(num_classes), config.test_view.shape[1:]))
    _print(["", *_clip_lines(config)])
    memory, traffic = cost.memory, cost.traffic
    rows = [(name, part / 1e6) for name, part in (*memory._asdict().items(), ("total", memory.total))]
    print("\n" + format_table([f"memory of each of {num_devices} device(s) in a step", "MB"], rows))
    if args.compile:
        plan = plan_step(config, num_classes=num_classes)
        computed = (memory.state + memory.clips // 2, memory.total - memory.state - memory.clips // 2)
        rows = [
            (name, ours / 1e6, planned / 1e6)
            for name, ours, planned in zip(("state and one batch", "everything else"), computed, plan, strict=True)
        ]
        print("\n" + format_table(["memory of a step", "computed, MB", "planned by XLA, MB"], rows))
    rows = [
        ("all-reduce", traffic.all_reduce / 1e6),
        ("all-gather", traffic.all_gather / 1e6),
        ("sent, in a ring", traffic.sent / 1e6),
    ]
    print("\n" + format_table(["traffic of each device per step", "MB"], rows))


def _print(lines: Iterable[str]) -> None:
    """Prints tables as they are, and other lines in the width of the terminal."""
    for line in lines:
        print(line if line.startswith("|") else wrap(line, width=terminal_width(), hang=2))


def _layer_lines(network: nn.Module, clip_shape: tuple[int, ...]) -> Iterator[str]:
    """Yields the table of layers and the totals."""
    layers = describe_layers(network, clip_shape)
    yield f"{type(network).__name__} on a clip of {_sizes(clip_shape)} (frames x height x width x channels)"
    yield ""
    columns = ["layer", "output", "field", "params", "MAdds", "MB"]
    yield format_table(columns, [_row(layer) for layer in layers])
    products = sum(layer.multiply_adds for layer in layers)
    clips = jax.ShapeDtypeStruct((1, *clip_shape), "float32")
    variables = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), clips)
    parameters = count_parameters(variables["params"])
    classifier = sum(layer.parameters for layer in layers if layer.name == "head/logits")
    without = f" ({parameters - classifier:,} without the classifier)" if classifier else ""
    yield ""
    yield "field: receptive field, in frames, rows and columns of the clip; MAdds: multiply-adds; MB: of the output"
    yield f"{parameters:,} parameters{without}, {products:,} multiply-adds per clip and forward pass"


def _row(layer: Layer) -> list[Any]:
    field = None if layer.field is None else _sizes(layer.field)
    return [layer.name, _sizes(layer.shape), field, layer.parameters, layer.multiply_adds, layer.bytes / 1e6]


def _clip_lines(config: Config) -> Iterator[str]:
    """Yields what a minute of raw video takes, and a clip of a config."""
    minutes = [
        f"{width * height * 3 * _VIDEO_FPS * 60 / 1e9:.1f} GB at {width} x {height}" for width, height in _VIDEO_SIZES
    ]
    yield f"A minute of raw video at {_VIDEO_FPS} frames a second: {', '.join(minutes)}."
    shape = config.test_view.shape[1:]
    size = math.prod(shape)
    length = f", {shape[0] / config.clip.fps:.3g} s" if config.clip.fps else ""
    yield f"A clip of {_sizes(shape)}: {size / 1e3:,.0f} KB ({size / 1024:,.0f} KiB){length}."


def _sizes(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
