"""`vjax export`: writes a trained network as files that run without vjax."""

import argparse
from collections.abc import Sequence
from typing import Any

from vjax.cli.arguments import add_trained
from vjax.export.folder import FORMATS, export
from vjax.text import printable
from vjax.trained import load


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "export",
        help="write a trained network as files that run without vjax",
        description="Writes a folder with the model (uint8 clips in, probabilities out, normalization inside), the "
        "names of the classes, the preprocessing, a model card, and run.py, which names the class of video files with "
        "numpy, PyAV and onnxruntime, or jax. Each model is compared with the run's network.",
    )
    add_trained(parser)
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to write; it must not exist, or be empty")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        action="append",
        help="stablehlo, for jax on CPU, CUDA and TPU (default), or onnx (extra onnx); may be given twice",
    )
    parser.add_argument("--half", action="store_true", help="store kernels in 16 bits: half of the size")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, _: Sequence[str]) -> None:
    """Writes the folder, and prints how far each model differs from the run's network."""
    formats = tuple(dict.fromkeys(args.format or FORMATS[:1]))
    trained = load(args.workdir, checkpoint=args.checkpoint)
    for name, difference in export(trained, args.out, formats=formats, half=args.half).items():
        print(f"model.{name}: probabilities differ by {difference:.1e} at most")
    print(f"next: python {printable(args.out)}/run.py VIDEO")
