"""Tensors of PyTorch as the variables of a network: other axes, other names, the same numbers."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax.numpy as jnp
import numpy as np

from vjax.errors import InputError
from vjax.training.init_from import in_classifier

_IGNORED = (
    "num_batches_tracked"  # PyTorch counts the batches of a batch norm, and needs the count only without momentum
)


@dataclasses.dataclass(frozen=True)
class Converted:
    """Variables with the numbers of a file.

    Attributes:
      variables: `dict(params=..., batch_stats=...)`, as arrays; what is missing keeps what was given.
      unused: names of the file's tensors that no variable takes.
      missing: names of the variables that keep what was given: those without a name in PyTorch, and all of the
        classifier if the file has none that fits.
    """

    variables: Any
    unused: tuple[str, ...]
    missing: tuple[str, ...]


def convert(variables: Any, tensors: Mapping[str, np.ndarray], names: Mapping[str, str], *, where: str) -> Converted:
    """Returns the variables of a network with the numbers of PyTorch's tensors.

    The kernel of a 2D convolution fits a 3D one of depth 1. The classifier keeps its initial values if the file has
    none, or one for another number of classes. Variables without a name in PyTorch keep theirs, too.

    Args:
      variables: `dict(params=..., batch_stats=...)` of arrays or of their shapes (`jax.ShapeDtypeStruct`).
      tensors: tensors by their names in PyTorch.
      names: name of the tensor for each variable, such as `{"params/Conv_0/kernel": "conv1.weight"}`.
      where: file of the tensors, for error messages.

    Raises:
      InputError: a tensor is missing, has another shape, or holds whole numbers.
    """
    wanted: dict[str, Any] = flax.traverse_util.flatten_dict(variables, sep="/")
    missing = tuple(name for name in wanted if name not in names)
    missing += tuple(name for name in _missing_classifier(wanted, tensors, names) if name not in missing)
    loaded = dict(wanted)
    for name, leaf in wanted.items():
        if name in missing:
            continue
        theirs = names[name]
        if theirs not in tensors:
            raise InputError(f"{where}: has no tensor called {theirs} for {name} {tuple(leaf.shape)} of this network")
        tensor = _with_our_axes(name, tensors[theirs], leaf.shape)
        if tensor.shape != tuple(leaf.shape):
            raise InputError(
                f"{where}: does not fit this network: theirs {theirs} {tensors[theirs].shape}, "
                f"ours {name} {tuple(leaf.shape)}"
            )
        if not jnp.issubdtype(tensor.dtype, jnp.floating):
            raise InputError(f"{where}: {theirs} holds {tensor.dtype} where a network has floating-point numbers")
        loaded[name] = tensor.astype(leaf.dtype)
    used = {names[name] for name in wanted if name not in missing}
    unused = tuple(name for name in tensors if name not in used and name.rpartition(".")[2] != _IGNORED)
    # A network without batch norms has no batch statistics, and flattening drops empty trees.
    return Converted({**variables, **flax.traverse_util.unflatten_dict(loaded, sep="/")}, unused, missing)


def _missing_classifier(
    wanted: Mapping[str, Any], tensors: Mapping[str, np.ndarray], names: Mapping[str, str]
) -> tuple[str, ...]:
    """Returns the names of the classifier's variables if the file has no classifier for as many classes."""
    classifier = tuple(filter(in_classifier, wanted))
    found = [tensors.get(names.get(name, "")) for name in classifier]
    sizes = [wanted[name].shape[-1] for name in classifier]
    fits = [tensor is not None and tensor.shape[:1] == (size,) for tensor, size in zip(found, sizes, strict=True)]
    return () if all(fits) else classifier


def _with_our_axes(name: str, tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a kernel `(o i t h w)`, `(o i h w)` or `(o i)` as `(t h w i o)` or `(i o)`; other tensors as they are."""
    if name.rpartition("/")[2] != "kernel" or tensor.ndim < 2:
        return tensor
    tensor = np.moveaxis(tensor, (0, 1), (-1, -2))
    return tensor.reshape(shape) if _without_depth(tensor.shape) == _without_depth(shape) else tensor


def _without_depth(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape of a kernel without the axes of size 1 before its first larger one."""
    sizes, channels = list(shape[:-2]), shape[-2:]
    while sizes and sizes[0] == 1:
        del sizes[0]
    return (*sizes, *channels)
