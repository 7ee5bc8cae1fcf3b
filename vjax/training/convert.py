"""Tensors of PyTorch as the variables of a network, and back: other axes, other names, the same numbers."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import flax.traverse_util
import jax.numpy as jnp
import numpy as np

from vjax.errors import InputError
from vjax.text import some
from vjax.training.init_from import Loaded, flat, in_classifier, load_pretrained

_IGNORED = (
    "num_batches_tracked"  # PyTorch counts the batches of a batch norm, and needs the count only without momentum
)
_AXES_OF_3D = 5  # of the kernel of a 3D convolution


def convert(variables: Any, tensors: Mapping[str, np.ndarray], names: Mapping[str, str], *, where: str) -> Loaded:
    """Returns the variables of a network with the numbers of PyTorch's tensors; `unused` has PyTorch's names.

    The kernel of a 2D convolution fits a 3D one of depth 1, and is inflated for a deeper one. The classifier keeps its
    initial values if the file has none, or one of another shape. A part of the network that `names` does not list
    keeps them too.

    Args:
      variables: `dict(params=..., batch_stats=...)` of arrays or of their shapes (`jax.ShapeDtypeStruct`).
      tensors: tensors by their names in PyTorch.
      names: name of the tensor for each variable, such as `{"params/Conv_0/kernel": "conv1.weight"}`.
      where: file of the tensors, for error messages.

    Raises:
      InputError: a tensor is missing, has another shape, or holds whole numbers.
    """
    wanted, found = flat(variables), {}
    for name, theirs in names.items():
        if theirs in tensors:
            if not jnp.issubdtype(tensors[theirs].dtype, jnp.floating):
                raise InputError(
                    f"{where}: {theirs} holds {tensors[theirs].dtype} where a network has floating-point numbers"
                )
            found[name] = _with_our_axes(name, tensors[theirs], wanted[name].shape).astype(wanted[name].dtype)
        elif not in_classifier(name):
            raise InputError(
                f"{where}: has no tensor called {theirs} for {name} {tuple(wanted[name].shape)} of this network"
            )
    loaded = load_pretrained(
        variables,
        flax.traverse_util.unflatten_dict(found, sep="/"),
        same_classes=True,  # as far as a file without names of classes can tell
        where=where,
        labels={name: f"{names[name]} {tensors[names[name]].shape}" for name in found},
    )
    used = {names[name] for name in found.keys() - loaded.unused}
    unused = tuple(name for name in tensors if name not in used and name.rpartition(".")[2] != _IGNORED)
    return dataclasses.replace(loaded, unused=unused)


def to_torch(variables: Any, names: Mapping[str, str], *, convolutions: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Returns PyTorch's tensors with the numbers of a network's variables; `convert` makes variables of them again.

    Every batch norm also gets PyTorch's counter `num_batches_tracked`, which is 0: PyTorch refuses a state dict without
    it, and uses it only in a batch norm without momentum. If all kernels of a network have depth 1, its form in PyTorch
    is taken to be 2D.

    Args:
      variables: `dict(params=..., batch_stats=...)` of arrays.
      names: name of the tensor for each variable, such as `{"params/Conv_0/kernel": "conv1.weight"}`.
      convolutions: names of the tensors that belong to a convolution of size 1 in PyTorch and to a dense layer here.

    Raises:
      InputError: a variable has no name.
    """
    ours = {name: np.asarray(leaf) for name, leaf in flat(variables).items()}
    if unnamed := [name for name in ours if name not in names]:
        raise InputError(f"the names that PyTorch gives to these variables are not known: {some(unnamed)}")
    is_2d = all(leaf.shape[0] == 1 for leaf in ours.values() if leaf.ndim == _AXES_OF_3D)
    tensors = {}
    for name, leaf in ours.items():
        if name.rpartition("/")[2] == "kernel":
            leaf = leaf if names[name] not in convolutions else leaf[None, None, None]
            leaf = np.moveaxis(leaf[0] if is_2d and leaf.ndim == _AXES_OF_3D else leaf, (-1, -2), (0, 1))
        tensors[names[name]] = leaf
        module, _, leaf_name = names[name].rpartition(".")
        if leaf_name == "running_var":
            tensors[f"{module}.{_IGNORED}"] = np.zeros((), np.int64)
    return tensors


def _with_our_axes(name: str, tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a kernel `(o i t h w)`, `(o i h w)` or `(o i)` as `(t h w i o)` or `(i o)`; other tensors as they are."""
    if name.rpartition("/")[2] != "kernel" or tensor.ndim < 2:
        return tensor
    tensor = np.moveaxis(tensor, (0, 1), (-1, -2))
    if tensor.ndim == 4 and len(shape) == 5:
        return tensor[None]
    return tensor.reshape(shape) if _without_depth(tensor.shape) == _without_depth(shape) else tensor


def _without_depth(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape of a kernel without the axes of size 1 before its first larger one."""
    sizes, channels = list(shape[:-2]), shape[-2:]
    while sizes and sizes[0] == 1:
        del sizes[0]
    return (*sizes, *channels)
