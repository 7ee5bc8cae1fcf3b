"""The tensors that the pickle of torch.save describes, as records first, then as arrays."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from vjax.errors import InputError
from vjax.text import shorten
from vjax.weights.pickles import Builder, Name, damaged

_MOST_AXES = 64  # of an array
_MOST_SIZE = 2**56  # of an array, with sizes of 0 counted as 1
_MOST_COPIES = 16  # bytes of all tensors, as a multiple of the file's size: tensors may share a storage
_ALWAYS_ALLOWED = 16 * 2**20  # bytes of all tensors in a file of any size

_DTYPES = {
    "Double": np.float64,
    "Float": np.float32,
    "Half": np.float16,
    "BFloat16": ml_dtypes.bfloat16,
    "Long": np.int64,
    "Int": np.int32,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
}
STORAGES = {
    f"{module}.{kind}Storage": np.dtype(dtype) for module in ("torch", "torch.cuda") for kind, dtype in _DTYPES.items()
}
_NAMES = (
    *("float64", "double", "float32", "float", "float16", "half", "bfloat16", "bool", "uint8"),
    *("int64", "long", "int32", "int", "int16", "short", "int8"),
    *("strided", "contiguous_format", "preserve_format", "channels_last", "channels_last_3d"),
)


@dataclasses.dataclass(frozen=True)
class Storage:
    """Numbers of a file, which one or more tensors show.

    Attributes:
      key: its name in the file.
      dtype: type of its numbers.
      size: how many numbers it has.
    """

    key: str
    dtype: np.dtype
    size: int

    @property
    def num_bytes(self) -> int:
        """The bytes of its numbers."""
        return self.size * self.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Storages:
    """The storages that a pickle names, and bounds for the tensors on them."""

    def __init__(self, file_bytes: int):
        self._file_bytes = file_bytes
        self.by_key: dict[str, Storage] = {}

    def find(self, identity: tuple[Any, ...]) -> Storage:
        """Returns the storage of a persistent id `("storage", type, key, place, size[, None])`.

        Raises:
          InputError: the id is another one, or the storage is larger than the file.
        """
        view = identity[5] if len(identity) == 6 else None
        match identity[:5]:
            case ("storage", Name(name), str(key), _, int(size)) if name in STORAGES and size >= 0 and view is None:
                storage = Storage(key, STORAGES[name], size)
            case _:
                raise damaged("the description of a storage is not as torch.save writes it")
        if storage.num_bytes > self._file_bytes:
            raise InputError(f"is cut off: its storage {shown(key)} has {storage.num_bytes:,} bytes, the file fewer")
        if self.by_key.setdefault(key, storage) != storage:
            raise damaged(f"two descriptions of the storage {shown(key)}")
        return storage

    def load(
        self, tensors: Mapping[str, Tensor], read: Callable[[Storage], bytes], *, big_endian: bool = False
    ) -> dict[str, np.ndarray]:
        """Returns tensors as read-only arrays; those that share a storage share its memory.

        Args:
          tensors: tensors by name.
          read: function that returns the bytes of a storage.
          big_endian: byte order of the file's numbers.

        Raises:
          InputError: the tensors take far more memory than the file; such a file is made to fill a machine's memory.
        """
        total = sum(math.prod(tensor.shape) * tensor.storage.dtype.itemsize for tensor in tensors.values())
        if total > max(_MOST_COPIES * self._file_bytes, _ALWAYS_ALLOWED):
            raise InputError(f"its tensors would take {total:,} bytes; the file has {self._file_bytes:,}")
        keys = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
        numbers = {key: read(storage) for key, storage in keys.items()}
        if big_endian:
            for key, storage in keys.items():
                numbers[key] = np.frombuffer(numbers[key], f"u{storage.dtype.itemsize}").byteswap().tobytes()
        return {name: _view(numbers[tensor.storage.key], tensor) for name, tensor in tensors.items()}


def check_shape(shape: Sequence[Any]) -> None:
    """Checks that an array can have a shape.

    Raises:
      InputError: it has too many axes, or a size that is no whole number from 0 on, or far too large.
    """
    if len(shape) > _MOST_AXES:
        raise InputError(f"is damaged: it has a tensor of {len(shape):,} axes; an array has up to {_MOST_AXES}")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise InputError("is damaged: the sizes of a tensor must be whole numbers from 0 on")
    if math.prod(size or 1 for size in shape) > _MOST_SIZE:
        raise InputError(f"is damaged: it has a tensor of shape {tuple(shape)}")


def _view(numbers: bytes, tensor: Tensor) -> np.ndarray:
    dtype, size = tensor.storage.dtype, tensor.storage.dtype.itemsize
    if 0 in tensor.shape:
        return np.empty(tensor.shape, dtype)
    # The stride of an axis of one element is never used, and may be any number.
    strides = tuple(size * stride if axis > 1 else 0 for axis, stride in zip(tensor.shape, tensor.strides, strict=True))
    return np.ndarray(tensor.shape, dtype, numbers, offset=size * tensor.offset, strides=strides)


def _build_tensor(arguments: tuple[Any, ...]) -> Tensor:
    """Returns the tensor of `_rebuild_tensor_v2(storage, offset, shape, strides, ...)`."""
    match arguments:
        case (Storage() as storage, int(offset), tuple(shape), tuple(strides), *_):
            tensor = Tensor(storage, offset, shape, strides)
        case _:
            raise damaged("the description of a tensor is not as torch.save writes it")
    if len(shape) != len(strides):
        raise damaged(f"a tensor of {len(shape)} axes and {len(strides)} strides")
    check_shape(shape)
    if not all(type(number) is int and number >= 0 for number in (offset, *strides)):
        raise damaged("strides and offset of a tensor must be whole numbers from 0 on")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= storage.size:
        raise InputError(
            f"is damaged: a tensor of shape {shape} ends behind its storage {shown(storage.key)} of {storage.size:,}"
        )
    return tensor


def _build_parameter(arguments: tuple[Any, ...]) -> Tensor:
    match arguments:
        case (Tensor() as tensor, *_):
            return tensor
    raise damaged("a parameter without a tensor")


def _build_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """Returns the dict of `OrderedDict()`, or of `Counter(dict)` without a copy of it."""
    match arguments:
        case ():
            return {}
        case (dict(content),):
            return content
    raise damaged("a dict made of something else")


def _build_sequence(arguments: tuple[Any, ...]) -> Any:
    """Returns the tuple of `torch.Size(tuple)`, or the list of `set(list)`, without a copy of it."""
    match arguments:
        case ((tuple() | list()) as content,):
            return content
    raise damaged("a sequence made of something else")


def _build_device(arguments: tuple[Any, ...]) -> Name:
    match arguments:
        case (str(kind), *_):
            return Name(f"torch.device {shown(kind)}")
    raise damaged("a device without a name")


def shown(text: str) -> str:
    """Returns a text of a file as an error shows it: short, quoted, and in one line."""
    return repr(shorten(text[:100], 60))


# Everything that a file may name; a builder never copies what it gets, so a small file cannot become large.
KNOWN: dict[str, Builder | None] = {
    **dict.fromkeys(STORAGES),
    **dict.fromkeys(f"torch.{name}" for name in _NAMES),
    "torch._utils._rebuild_tensor_v2": _build_tensor,
    "torch._utils._rebuild_parameter": _build_parameter,
    "torch.Size": _build_sequence,
    "torch.device": _build_device,
    "collections.OrderedDict": _build_dict,
    "collections.Counter": _build_dict,
    "builtins.set": _build_sequence,
    "__builtin__.set": _build_sequence,
}
