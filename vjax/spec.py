"""Plain data to objects: a mapping, checked against a signature, errors that list the names."""

import difflib
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from vjax.errors import InputError

T = TypeVar("T")


def create(spec: Mapping[str, Any], table: Mapping[str, Callable[..., T]], *, what: str, **given: Any) -> T:
    """Returns `table[spec["name"]](**rest of spec, **given)`.

    Args:
      spec: `dict(name=..., **kwargs)`, as it stands in a config.
      table: what can be named, with the callables that make it.
      what: what the spec describes, for error messages: "network", "config.source".
      **given: arguments the caller supplies; a spec may not set them.

    Raises:
      InputError: the name is missing or not in the table, or a key does not fit the callable.

    >>> create({"name": "pair", "second": 2}, {"pair": lambda first, second: (first, second)}, what="x", first=1)
    (1, 2)
    """
    if "name" not in spec:
        raise InputError(f"{what} needs a name; choose one of: {', '.join(sorted(table))}")
    kwargs = dict(spec)
    name = kwargs.pop("name")
    check_names([name], table, what=what)
    return call(table[name], kwargs, what=f"{what} {name!r}", **given)


def call(function: Callable[..., T], kwargs: Mapping[str, Any], *, what: str, **given: Any) -> T:
    """Returns `function(**kwargs, **given)` after `check_arguments`."""
    check_arguments(function, kwargs, what=what, given=given)
    return function(**kwargs, **given)


def check_arguments(
    function: Callable[..., Any], kwargs: Mapping[str, Any], *, what: str, given: Collection[str] = ()
) -> None:
    """Checks that the keys of `kwargs` fit a signature whose arguments `given` are supplied by the caller.

    Raises:
      InputError: a key is unknown, is supplied by the caller, or a required one is missing.
    """
    parameters = inspect.signature(function).parameters
    # Linen modules take `parent` and `name` beside their fields; neither belongs to a spec.
    allowed = [name for name in parameters if name not in {*given, "parent", "name"}]
    check_names(kwargs, allowed, what=what)
    missing = [name for name in allowed if parameters[name].default is inspect.Parameter.empty and name not in kwargs]
    if missing:
        raise InputError(f"{what} needs a value for: {', '.join(missing)}")


def check_names(names: Collection[str], allowed: Collection[str], *, what: str) -> None:
    """Raises an InputError that names the first of `names` not in `allowed`, the nearest one, and all."""
    for name in names:
        if name not in allowed:
            near = difflib.get_close_matches(str(name), [str(a) for a in allowed], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise InputError(
                f"{what} does not know {name!r}{hint} Allowed: {', '.join(sorted(allowed)) or '(nothing)'}"
            )
