"""Config files and what the command line changes in them.

A config is a Python file whose `get_config()` returns an `ml_collections.ConfigDict`; `FILE:NAME` takes another
function of the file. `--config.a.b=value` sets a key that is already there. (ml_collections' own flags read
sys.argv behind the program's back and cannot say which keys a config has.)
"""

import ast
import copy
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vjax import spec
from vjax.errors import InputError
from vjax.ops.length import is_length

PREFIX = "--config."


def load_config(name: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Returns a config as plain data.

    Args:
      name: `FILE` or `FILE:FUNCTION`.
      overrides: `--config.key=value`, as on the command line; values are Python literals, or else strings.

    Raises:
      InputError: the file, the function, a key or a value does not work.
    """
    path, _, function = name.partition(":")
    config = _call_config(Path(path), function or "get_config").to_dict()
    return apply_overrides(config, overrides, prefix=PREFIX)


def _call_config(path: Path, function: str) -> ConfigDict:
    if not path.is_file():
        raise InputError(f"--config: there is no file {str(path)!r}; the ones that come with vjax are in configs/")
    try:
        found = runpy.run_path(str(path))
        functions = [key for key, value in found.items() if callable(value) and key.islower()]
        spec.check_names([function], functions, what=f"{path}")
        config = found[function]()
    except (SyntaxError, NameError, AttributeError, KeyError, TypeError, ImportError) as error:
        raise InputError(f"{path} does not work as a config: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise InputError(f"{path}: {function}() must return an ml_collections.ConfigDict, got {type(config).__name__}")
    return config


def apply_overrides(config: dict[str, Any], overrides: Sequence[str], *, prefix: str) -> dict[str, Any]:
    """Returns the config with keys that are already there set by `PREFIX` + `key=value`.

    Raises:
      InputError: a key is unknown or a value does not fit.
    """
    config = copy.deepcopy(config)
    for override in overrides:
        _apply(config, override, prefix)
    return config


def _apply(config: dict[str, Any], override: str, prefix: str) -> None:
    name, equals, text = override.partition("=")
    root = prefix.strip("-.")
    if not name.startswith(prefix) or not equals:
        raise InputError(f"{override!r} is not understood; a key of the {root} is set by {prefix}KEY=VALUE")
    *parents, key = name.removeprefix(prefix).split(".")
    section, where = config, root
    for parent in parents:
        spec.check_names([parent], list(section), what=where)
        section, where = section[parent], f"{where}.{parent}"
        if not isinstance(section, dict):
            raise InputError(f"{override!r}: {where} is a value, not a section")
    spec.check_names([key], list(section), what=where)
    section[key] = _parse(text, like=section[key], what=f"{where}.{key}")


def _parse(text: str, *, like: Any, what: str) -> Any:
    """Returns the value of a text, checked against the value that it replaces; None may become anything."""
    if isinstance(like, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    numbers = (int, float)
    both_numbers = isinstance(value, numbers) and isinstance(like, numbers)
    fits = (
        like is None or (value is None and not isinstance(like, dict)) or isinstance(value, type(like)) or both_numbers
    )
    sequence_for_number = isinstance(value, tuple) and isinstance(like, int)  # a size may become (h, w)
    length_for_number = isinstance(value, str) and type(like) is int and is_length(value)
    is_bool = isinstance(value, bool), isinstance(like, bool)
    if not (fits or sequence_for_number or length_for_number) or (both_numbers and is_bool[0] != is_bool[1]):
        or_length = ", or a length such as '30 epochs'" if type(like) is int else ""
        raise InputError(f"{what} takes a {type(like).__name__} such as {like!r}{or_length}, got {text!r}")
    return value
