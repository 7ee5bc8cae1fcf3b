"""`vjax benchmark`: measures how fast a trained network is on this machine, and its forms elsewhere."""

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from vjax.errors import InputError
from vjax.export.speed import Speed, forms_of_folder, forms_of_run, measure
from vjax.json_files import check_writable, write_json
from vjax.runtime.versions import processor, versions
from vjax.text import format_table, terminal_width, wrap
from vjax.trained import load

_ROUNDS = 5


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "benchmark",
        help="measure how fast a trained network is here, exported and in PyTorch too",
        description="Measures the inference of a run's network on random clips: in vjax, as StableHLO and ONNX (extra "
        "onnx), and in PyTorch for the networks that its libraries have (extra torch). For a folder of vjax export, it "
        "measures the models in it. The forms take turns.",
    )
    parser.add_argument(
        "path", metavar="DIR", help="work directory of a training run, or folder that vjax export has written"
    )
    parser.add_argument(
        "--batch", type=int, metavar="N", help="clips in a call (default: the number of devices, 1 on a laptop)"
    )
    parser.add_argument(
        "--rounds", type=int, default=_ROUNDS, metavar="N", help=f"turns of each form (default: {_ROUNDS})"
    )
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this JSON file")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, _: Sequence[str]) -> None:
    """Prints a table of the forms."""
    devices = jax.device_count()
    batch = devices if args.batch is None else args.batch
    if batch < 1 or args.rounds < 1:
        raise InputError(f"--batch and --rounds must be 1 or more, got {batch} and {args.rounds}")
    if args.json:
        check_writable(args.json)
    path, missing = Path(args.path).expanduser(), []
    if (path / "config.json").exists():
        if batch % devices:
            raise InputError(f"--batch {batch} cannot be split over the {devices} devices of this machine")
        trained = load(path)
        print("exporting the network, which takes up to minutes for a large one", file=sys.stderr)
        forms, missing = forms_of_run(trained)
        clip_shape = trained.test_view.shape[1:]
    else:
        forms, clip_shape = forms_of_folder(path)
    found = measure(forms, clip_shape, batch=batch, rounds=args.rounds)
    columns = ["form", "ms per clip", "fastest", "clips/s", f"of {next(iter(found))}'s time", "differs by"]
    print(format_table(columns, list(_rows(found))))
    about = {"processor": processor(), **versions()}
    clip = " x ".join(map(str, clip_shape))
    print()
    notes = [f"{batch} x {clip}; medians of {args.rounds} turns; {', '.join(map(' '.join, about.items()))}", *missing]
    if jax.default_backend() != "cpu":
        notes.append("onnx and pytorch are measured on the CPU, and the others on the devices")
    for line in notes:
        print(wrap(line, width=terminal_width(), hang=2))
    if args.json:
        rows = {name: dataclasses.asdict(speed) for name, speed in found.items()}
        write_json(args.json, {"forms": rows, "batch": batch, "clip": clip_shape, "rounds": args.rounds, **about})


def _rows(found: dict[str, Speed]) -> Iterator[tuple[str, ...]]:
    first = next(iter(found.values()))
    for name, speed in found.items():
        yield (
            name,
            f"{speed.ms:.1f}",
            f"{speed.least_ms:.1f}",
            f"{speed.clips_per_s:.1f}",
            f"{speed.ms / first.ms:.2f}",
            f"{speed.difference:.0e}",
        )
