"""`vjax cost`: computes the memory, network traffic and multiply-adds of a training step."""

import argparse
from collections.abc import Sequence
from typing import Any

import jax

from vjax.cli.arguments import add_config
from vjax.config_file import load_config
from vjax.experiment import describe_cost
from vjax.text import format_table


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "cost",
        help="compute memory, traffic and multiply-adds of a training step",
        description="Computes the memory and network traffic per device, and the multiply-adds, of a training step. "
        "Needs neither the data nor the devices.",
    )
    add_config(parser)
    parser.add_argument("--classes", type=int, required=True, metavar="N", help="number of classes of the dataset")
    parser.add_argument(
        "--devices", type=int, metavar="N", help="number of devices that share a batch (default: all of this machine)"
    )
    parser.add_argument(
        "--layers", action="store_true", help="also print the layers, by the names that config.layer_rates takes"
    )
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Computes the cost of a step and prints it."""
    num_devices = jax.device_count() if args.devices is None else args.devices
    found = describe_cost(load_config(args.config, overrides), num_classes=args.classes, num_devices=num_devices)
    print(f"{found.parameters:,} parameters, {found.multiply_adds:,} multiply-adds per clip and forward pass\n")
    memory, traffic = found.memory, found.traffic
    rows = [(name, part / 1e6) for name, part in (*memory._asdict().items(), ("total", memory.total))]
    print(format_table([f"memory of each of {num_devices} device(s)", "MB"], rows))
    rows = [
        ("all-reduce", traffic.all_reduce / 1e6),
        ("all-gather", traffic.all_gather / 1e6),
        ("sent, in a ring", traffic.sent / 1e6),
    ]
    print("\n" + format_table(["traffic of each device per step", "MB"], rows))
    if args.layers:
        print("\n" + format_table(["layer", "parameters"], list(found.layers.items())))
