"""Reads a file of weights: safetensors, or either form of torch.save. Nothing in it is executed."""

import dataclasses
import json
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from vjax.errors import InputError
from vjax.text import shorten, visible
from vjax.weights.pickles import Name
from vjax.weights.torch_files import OLD_START, ZIP_START, Saved, open_old, open_zip
from vjax.weights.torch_tensors import Storage, Tensor, check_shape, shown

# What PyTorch puts before every name: DataParallel and DistributedDataParallel, and torch.compile.
_WRAPPERS = ("module.", "_orig_mod.")
_LEVELS = 3  # of dicts in which the tensors are looked for: the file's content, its entries, their entries
_SAFETENSORS = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """What a file of weights holds.

    Attributes:
      form: how it is written, in words.
      tensors: arrays by name, in the order of the file; read-only.
      prefix: what all names begin with in the file, such as "module.", and what is left out here: a wrapper that
        PyTorch puts around a network to train it; mostly empty.
      entry: which of its entries holds the tensors, such as "state_dict"; empty if they are not nested.
      unused: what else the file holds, by name, in a few words each.
    """

    form: str
    tensors: dict[str, np.ndarray]
    prefix: str
    entry: str
    unused: dict[str, str]


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a file of weights by name, in the order of the file; read-only.

    Raises:
      InputError: as `read_weight_file`.
    """
    return read_weight_file(path).tensors


def read_weight_file(path: str | Path) -> WeightFile:
    """Returns what a file of weights holds; its content, not its ending, says how it is written.

    A file of torch.save may hold dicts in dicts. The tensors are those of the dict that directly holds most of them,
    in the first three levels; of equal ones, it is the first.

    Raises:
      InputError: there is no such file, it is no file of weights, it is damaged, or its pickle holds other things than
        tensors and plain values.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"{path}: {'is not a file' if path.exists() else 'no such file'}; give a file of weights")
    with path.open("rb") as file:
        start = file.read(9)
    try:
        # First, because its length, in front of the brace, may begin with any byte.
        if start[8:9] == b"{":
            return _from_safetensors(path.read_bytes())
        if start.startswith(ZIP_START):
            with open_zip(path) as saved:
                return _from_torch(saved, "torch.save, zip form")
        if start.startswith(OLD_START):
            with open_old(path) as saved:
                return _from_torch(saved, "torch.save, old form")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    raise InputError(f"{path}: is no file of weights; vjax reads .safetensors, and .pth or .pt of torch.save")


def _from_safetensors(content: bytes) -> WeightFile:
    try:
        found = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        raise InputError(f"is a damaged safetensors file ({shorten(visible(str(error)), 100)})") from error
    tensors = {}
    for name, tensor in sorted(found, key=lambda pair: pair[0]):
        if tensor["dtype"] not in _SAFETENSORS:
            raise InputError(f"the tensor {shown(name)} has the type {tensor['dtype']}, which vjax does not read")
        check_shape(tensor["shape"])
        array = np.frombuffer(tensor["data"], _SAFETENSORS[tensor["dtype"]]).reshape(tensor["shape"])
        array.flags.writeable = False
        tensors[name] = array
    if not tensors:
        raise InputError("holds no tensors")
    (header_bytes,) = struct.unpack("<Q", content[:8])
    notes = json.loads(content[8 : 8 + header_bytes]).get("__metadata__") or {}
    notes = {f"__metadata__/{key}": _describe(value) for key, value in notes.items()}
    prefix = _prefix(tensors)
    return WeightFile("safetensors", _without(prefix, tensors), prefix, "", notes)


def _from_torch(saved: Saved, form: str) -> WeightFile:
    path, found = _find_tensors(saved.content)
    if not found:
        raise InputError(f"holds no tensors by name: its content is {_describe(saved.content)}")
    arrays = saved.storages.load(found, saved.read, big_endian=saved.big_endian)
    prefix = _prefix(arrays)
    return WeightFile(form, _without(prefix, arrays), prefix, "/".join(path), dict(_unused(saved.content, path)))


def _prefix(names: Collection[str]) -> str:
    """Returns the wrappers, such as "module.", that all names begin with."""
    prefix = ""
    while found := [wrapper for wrapper in _WRAPPERS if all(name.startswith(prefix + wrapper) for name in names)]:
        prefix += found[0]
    return prefix


def _without(prefix: str, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def _find_tensors(content: Any) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Returns the names that lead to the dict with most tensors, and its tensors; none if there are no tensors."""
    best: tuple[tuple[str, ...], dict[str, Tensor]] = (), {}
    seen: set[int] = set()  # a pickle can hold one dict in many places
    level: list[tuple[tuple[str, ...], Any]] = [((), content)]
    for _ in range(_LEVELS):
        below = []
        for path, value in level:
            if isinstance(value, dict) and id(value) not in seen:
                seen.add(id(value))
                tensors = {key: tensor for key, tensor in value.items() if _is_named_tensor(key, tensor)}
                best = max(best, (path, tensors), key=lambda found: len(found[1]))
                below += [((*path, key), entry) for key, entry in value.items() if isinstance(key, str)]
        level = below
    return best


def _unused(content: dict[Any, Any], path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yields the name and the description of everything but the named tensors at the end of `path`."""
    for depth in range(len(path) + 1):
        for key, value in content.items():
            used = _is_named_tensor(key, value) if depth == len(path) else key == path[depth]
            if not used:
                yield "/".join((*path[:depth], str(key))), _describe(value)
        if depth < len(path):
            content = content[path[depth]]


def _is_named_tensor(key: Any, value: Any) -> bool:
    return isinstance(key, str) and isinstance(value, Tensor)


def _describe(value: Any) -> str:
    match value:
        case Tensor():
            return "a tensor"
        case Storage():
            return "numbers without a shape"
        case Name(text):
            return text
        case str():
            return shown(value)
        case bytes() | bytearray():
            return f"{len(value):,} bytes"
        case dict():
            return f"a dict of {len(value):,}"
        case list() | tuple():
            return f"a list of {len(value):,}"
        case _:
            return str(value)  # None, True, False or a number
