"""Writes arrays by name into a file: safetensors, or NumPy's own archive."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors.numpy

from vjax.errors import InputError
from vjax.json_files import check_writable, write_bytes
from vjax.text import shorten, visible

_LONGEST_NAME = 1000


def write_weights(path: str | Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name into a file; its ending chooses the form.

    Raises:
      InputError: the ending is neither `.safetensors` nor `.npz`, or the file cannot be written.
    """
    check_output(path)
    _check_names(tensors)
    _FORMS[Path(path).suffix.lower()](path, tensors)


def _check_names(tensors: Mapping[str, np.ndarray]) -> None:
    """Raises an InputError if a name cannot stand in both forms of file: one that is too long, not text or reserved."""
    for name in tensors:
        odd = name == "__metadata__" or any(char == "\0" or "\ud800" <= char <= "\udfff" for char in name)
        if odd or not 0 < len(name) <= _LONGEST_NAME:
            raise InputError(
                f"the tensor called {visible(shorten(name, 60))!r} cannot be written: a name has 1 to {_LONGEST_NAME} "
                "characters of UTF-8, no null character, and is not __metadata__; rename it where it was written"
            )


def check_output(path: str | Path) -> None:
    """Checks that a file can be written, before there is anything to write; it creates the file's folder.

    Raises:
      InputError: the ending is neither `.safetensors` nor `.npz`, or the file cannot be written.
    """
    if Path(path).suffix.lower() not in _FORMS:
        raise InputError(f"{path}: the ending of a file of weights to write must be one of {', '.join(_FORMS)}")
    check_writable(path)


def write_safetensors(path: str | Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name as safetensors; a kill leaves no incomplete file.

    Raises:
      InputError: the file cannot be written.
    """
    # The library writes the memory of an array, whatever its strides.
    dense = {name: np.ascontiguousarray(tensor).reshape(tensor.shape) for name, tensor in tensors.items()}
    write_bytes(path, safetensors.numpy.save(dense))


def write_npz(path: str | Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name as an archive for `np.load`; a kill leaves no incomplete file.

    NumPy has no bfloat16 of its own, so such arrays are written as float32, which holds the same numbers.

    Raises:
      InputError: the file cannot be written.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, tensor in tensors.items():
            exact = tensor.astype(np.float32) if tensor.dtype == ml_dtypes.bfloat16 else tensor
            # An entry with a fixed date: equal arrays give equal files.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, exact, allow_pickle=False)
    write_bytes(path, content.getvalue())


_FORMS: dict[str, Callable[[str | Path, Mapping[str, np.ndarray]], None]] = {
    ".safetensors": write_safetensors,
    ".npz": write_npz,
}
