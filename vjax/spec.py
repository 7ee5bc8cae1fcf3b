"""Building blocks of a config: named choices, tables of the available names, and ranges of numbers."""

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, TypeVar

from vjax.errors import InputError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Range:
    """The allowed numbers of a field: `Annotated[float, Range(0, below=1)]`.

    Attributes:
      at_least: smallest allowed number.
      at_most: largest allowed number.
      above: lower bound that is not itself allowed.
      below: upper bound that is not itself allowed.
    """

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None

    def fits(self, value: float) -> bool:
        """Returns whether a number lies in the range; NaN never does."""
        return (
            value == value
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def describe(self) -> str:
        """Returns the range in words that follow "must": `lie in [0, 1)`, `be 1 or more`."""
        low = self.above if self.at_least is None else self.at_least
        high = self.below if self.at_most is None else self.at_most
        if high is None:
            return f"be above {low}" if self.at_least is None else f"be {low} or more"
        if low is None:
            return f"be below {high}" if self.at_most is None else f"be {high} or less"
        return f"lie in {'(' if self.at_least is None else '['}{low}, {high}{')' if self.at_most is None else ']'}"


@dataclasses.dataclass(frozen=True)
class OneOf:
    """The allowed values of a text field: `Annotated[str, OneOf(LAYOUTS)]`.

    Attributes:
      names: allowed values; they are read when a field is checked, so names that are added later count too.
    """

    names: Collection[str]

    def __hash__(self) -> int:
        return id(self.names)


@dataclasses.dataclass(frozen=True)
class KeepsResult:
    """Marks a field that does not define the result; a run may be resumed with another value of it."""


@dataclasses.dataclass(frozen=True, init=False)
class Choice:
    """A name and its options: `Choice("small", widths=(16, 32), norm="group")`.

    Attributes:
      name: a key of the table that the choice is made from.
      options: keyword arguments of the table's function of that name.
    """

    name: str
    options: Mapping[str, Any]

    def __init__(self, name: str, /, **options: Any):
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "options", options)

    def __repr__(self) -> str:
        return f"Choice({', '.join([repr(self.name), *(f'{key}={value!r}' for key, value in self.options.items())])})"


class Table(dict[str, Callable[..., T]], Generic[T]):
    """Functions by name; `TABLE["mine"] = function` adds one from outside the package.

    Attributes:
      given: arguments that the caller of `create` supplies; they are not options.
    """

    def __init__(self, entries: Mapping[str, Callable[..., T]], *, given: Collection[str] = ()):
        super().__init__(entries)
        self.given = frozenset(given)

    def __hash__(self) -> int:  # type: ignore[override]  # so that a table can be used in `Annotated`
        return id(self)

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """Returns the options of a name, with the annotations and defaults of its function's parameters."""
        parameters = inspect.signature(self[name], eval_str=True).parameters
        return {key: value for key, value in parameters.items() if key not in self.given}

    def shared_options(self, name: str, other: str) -> set[str]:
        """Returns the options that two names have with the same default: they mean the same for both."""
        here, there = self.options(name), self.options(other)
        return {key for key in here.keys() & there.keys() if here[key].default == there[key].default}

    def create(self, choice: Choice, **given: Any) -> T:
        """Calls the function that a checked choice names, with the options of the choice and the given arguments."""
        return self[choice.name](**choice.options, **given)


def check_names(names: Collection[Any], allowed: Collection[str], *, what: str) -> None:
    """Raises an InputError for the first name that is not allowed; it shows the nearest and all allowed names."""
    for name in names:
        if name not in allowed:
            near = difflib.get_close_matches(str(name), [str(a) for a in allowed], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise InputError(
                f"{what} does not know {name!r}{hint} Allowed: {', '.join(sorted(allowed)) or '(nothing)'}"
            )
