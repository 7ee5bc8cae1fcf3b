"""What a config is made of: named choices, tables of what can be named, and ranges of numbers."""

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, TypeVar

from vjax.errors import InputError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers that a field may have: `Annotated[float, Range(0, below=1)]`.

    Attributes:
      at_least: the lowest number, itself allowed.
      at_most: the highest number, itself allowed.
      above: a number that all others must exceed.
      below: a number that all others must stay under.
    """

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None

    def fits(self, value: float) -> bool:
        """Tells whether a number lies in the range; NaN never does."""
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
    """The names that a text may be: `Annotated[str, OneOf(LAYOUTS)]`; read where a value is checked."""

    names: Collection[str]

    def __hash__(self) -> int:
        return id(self.names)


@dataclasses.dataclass(frozen=True)
class KeepsResult:
    """Marks a field that says how a run is carried out: a run may be continued with another value."""


@dataclasses.dataclass(frozen=True, init=False)
class Choice:
    """A name and its options: `Choice("small", widths=(16, 32), norm="group")`.

    Attributes:
      name: a key of the table that the choice is made from.
      options: arguments of what the table has under that name.
    """

    name: str
    options: Mapping[str, Any]

    def __init__(self, name: str, /, **options: Any):
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "options", options)

    def __repr__(self) -> str:
        return f"Choice({', '.join([repr(self.name), *(f'{key}={value!r}' for key, value in self.options.items())])})"


class Table(dict[str, Callable[..., T]], Generic[T]):
    """Functions by name; one from outside is added by `TABLE["mine"] = function`.

    Attributes:
      given: arguments that the caller of `create` supplies; they are no options.
    """

    def __init__(self, entries: Mapping[str, Callable[..., T]], *, given: Collection[str] = ()):
        super().__init__(entries)
        self.given = frozenset(given)

    def __hash__(self) -> int:  # type: ignore[override]  # so that it can stand in `Annotated`
        return id(self)

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """Returns the options that a name takes; their annotations and defaults are those of its function."""
        parameters = inspect.signature(self[name], eval_str=True).parameters
        return {key: value for key, value in parameters.items() if key not in self.given}

    def create(self, choice: Choice, **given: Any) -> T:
        """Returns what the function of a checked choice makes of its options and of what is given."""
        return self[choice.name](**choice.options, **given)


def check_names(names: Collection[Any], allowed: Collection[str], *, what: str) -> None:
    """Raises an InputError that names the first of `names` not in `allowed`, the nearest one, and all."""
    for name in names:
        if name not in allowed:
            near = difflib.get_close_matches(str(name), [str(a) for a in allowed], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise InputError(
                f"{what} does not know {name!r}{hint} Allowed: {', '.join(sorted(allowed)) or '(nothing)'}"
            )
