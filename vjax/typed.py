"""Type checks: the annotation of a field or an argument decides which values it takes and what an error says.

Annotations are `int`, `float`, `str`, `bool`, `None`, `tuple`, `Literal`, and unions and dataclasses of these.
`Annotated` adds a `Range`, a `OneOf`, the `Table` that a `Choice` is made from (spec.py), or a text that describes the
value.
"""

import ast
import dataclasses
import inspect
import numbers
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from vjax.errors import InputError
from vjax.spec import Choice, OneOf, Range, Table, check_names

T = TypeVar("T")

_EMPTY = inspect.Parameter.empty
_CONSTANTS = {"none": None, "true": True, "false": False}
_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "True or False", types.NoneType: "none"}


class _OutOfRange(InputError):
    """A number of the right type lies outside its range."""


def conform(value: Any, annotation: Any, *, what: str) -> Any:
    """Converts a value to its annotation and fills in defaults: a whole number to a float, a list to a tuple.

    Args:
      value: value from Python or JSON; a dataclass may be given as a mapping, and a choice as a mapping with its name
        under "name".
      annotation: annotation that the value has to fit.
      what: name of the value in messages, such as "config.clip".

    Raises:
      InputError: the value does not fit; the message begins with the place that is wrong.
    """
    # Marked annotations: a choice from a table, or a type with further checks.
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        table = table_of(annotation)
        if table is not None:
            return conform_choice(value, table, what=what)
        return _check_marks(conform(value, arguments[0], what=what), arguments[1:], what=what)
    # Annotations with arguments.
    if origin in (Union, types.UnionType):
        return _conform_union(value, annotation, what=what)
    if origin is Literal:
        if all(isinstance(argument, str) for argument in arguments):
            check_names([value], arguments, what=what)
        if value in arguments:
            return value
        raise InputError(f"{what} is {describe(annotation)}, got {value!r}")
    if origin is tuple:
        return _conform_tuple(value, annotation, what=what)
    # Sections of a config.
    if dataclasses.is_dataclass(annotation):
        assert isinstance(annotation, type)
        return conform_dataclass(value, annotation, what=what)
    # Plain types. True is not a number here, though Python's bool is an int.
    if annotation in (Any, _EMPTY):
        return value
    if annotation is float and _is_number(value):
        return float(value)
    kind = origin or annotation
    is_whole = kind is int and isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if is_whole or (kind is not int and isinstance(value, kind)):
        return value
    raise InputError(f"{what} is {describe(annotation)}, got {value!r}")


def conform_dataclass(value: Any, cls: type[T], *, what: str) -> T:
    """Returns a checked instance of a dataclass, made from an instance or from a mapping of its fields."""
    if isinstance(value, cls):
        value = as_mapping(value)
    if not isinstance(value, Mapping):
        names = ", ".join(sorted(field_types(cls)))
        raise InputError(f"{what} is a section with the keys {names}; got {value!r}")
    annotations = field_types(cls)
    check_names(value, annotations, what=what)
    required = [key for key, parameter in inspect.signature(cls).parameters.items() if parameter.default is _EMPTY]
    if missing := [key for key in required if key not in value]:
        raise InputError(f"{what} needs a value for: {', '.join(missing)}")
    defaults = {field.name: getattr(cls, field.name, None) for field in dataclasses.fields(cls)}  # pyright: ignore
    whole = {key: value.get(key, defaults[key]) for key in annotations}
    return cls(**{key: conform(whole[key], annotations[key], what=f"{what}.{key}") for key in annotations})


def conform_choice(value: Any, table: Table[Any], *, what: str) -> Choice:
    """Returns a checked choice from a table, with all its options filled in."""
    if isinstance(value, Choice):
        value = as_mapping(value)
    if not isinstance(value, Mapping):
        raise InputError(f"{what} is a name and its options, got {value!r}")
    if "name" not in value:
        raise InputError(f"{what} needs a name; choose one of: {', '.join(sorted(table))}")
    name = value["name"]
    check_names([name], table, what=what)
    allowed, options = table.options(name), {key: given for key, given in value.items() if key != "name"}
    check_names(options, allowed, what=f"{what} {name!r}")
    whole = {key: parameter.default for key, parameter in allowed.items()} | options
    missing = [key for key, default in whole.items() if default is _EMPTY]
    if missing:
        raise InputError(f"{what} {name!r} needs a value for: {', '.join(missing)}")
    return Choice(name, **{key: conform(whole[key], allowed[key].annotation, what=f"{what}.{key}") for key in whole})


def check_fields(value: Any, *, what: str) -> None:
    """Raises an InputError if a field of a dataclass instance does not fit its annotation."""
    for key, annotation in field_types(type(value)).items():
        conform(getattr(value, key), annotation, what=f"{what}.{key}")


def parse(text: str, annotation: Any, *, what: str) -> Any:
    """Parses a value of the command line: `0.5`, `(1, 2)` or `1,2`, `none`, `true`, or a name.

    Raises:
      InputError: the value does not fit the annotation.
    """
    try:
        value = _CONSTANTS[text.lower()] if text.lower() in _CONSTANTS else ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if not isinstance(value, str):
        try:
            return conform(value, annotation, what=what)
        except InputError:
            # A text field takes the text as it was typed, even if it looks like a number or like "none".
            if not _takes_text(annotation):
                raise
    return conform(text, annotation, what=what)


def describe(annotation: Any) -> str:
    """Describes in words what an annotation allows: `a whole number or none`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return describe(arguments[0])
    if origin in (Union, types.UnionType):
        return " or ".join(describe(argument) for argument in arguments)
    if origin is Literal:
        return " or ".join(repr(argument) for argument in arguments)
    if origin is tuple:
        items = [argument for argument in arguments if argument is not Ellipsis]
        count = f"{len(items)} " if Ellipsis not in arguments else ""
        return f"{count}{_WORDS.get(items[0], 'value').removeprefix('a ')}s"
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def field_types(cls: Any) -> dict[str, Any]:
    """Returns the annotation of each field of a dataclass, including its marks."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def field_docs(documented: Any) -> dict[str, str]:
    """Returns the description of each attribute of a class, or of each argument of a function, from the docstring."""
    docs: dict[str, str] = {}
    lines = inspect.cleandoc(documented.__doc__ or "").splitlines()
    starts = [number for number, line in enumerate(lines) if line in ("Attributes:", "Args:")]
    for line in lines[starts[0] + 1 :] if starts else []:
        if line and not line.startswith(" "):
            break
        name, colon, text = line.strip().partition(": ")
        if line.startswith("  ") and not line.startswith("   ") and colon:
            docs[name] = text
        elif line.strip() and docs:
            last = next(reversed(docs))
            docs[last] = f"{docs[last]} {line.strip()}"
    return docs


def description(annotation: Any) -> str:
    """Returns the description that an annotation is marked with, or an empty text."""
    return next((mark for mark in marks(annotation) if isinstance(mark, str)), "")


def marks(annotation: Any) -> tuple[Any, ...]:
    """Returns the marks of an annotation: the arguments of `Annotated` after the type."""
    return get_args(annotation)[1:] if get_origin(annotation) is typing.Annotated else ()


def table_of(annotation: Any) -> Table[Any] | None:
    """Returns the table that a choice with this annotation is made from, or None for other annotations."""
    return next((mark for mark in marks(annotation) if isinstance(mark, Table)), None)


def unmarked(annotation: Any) -> Any:
    """Returns an annotation without its marks."""
    return get_args(annotation)[0] if marks(annotation) else annotation


def as_mapping(value: Any) -> dict[str, Any]:
    """Returns the fields of a dataclass, or the name and options of a choice, without converting their values."""
    if isinstance(value, Choice):
        return {"name": value.name, **value.options}
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def as_plain(value: Any) -> Any:
    """Returns a value as nested dicts for JSON: sections with their fields, choices with their name under "name"."""
    if isinstance(value, Choice) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        return {key: as_plain(part) for key, part in as_mapping(value).items()}
    return value


def _check_marks(value: Any, found: tuple[Any, ...], *, what: str) -> Any:
    for mark in found:
        values = value if isinstance(value, tuple) else [value]
        if isinstance(mark, Range) and not all(mark.fits(number) for number in values if _is_number(number)):
            raise _OutOfRange(f"{what} must {mark.describe()}, got {value}")
        if isinstance(mark, OneOf):
            check_names([value], mark.names, what=what)
    return value


def _conform_union(value: Any, annotation: Any, *, what: str) -> Any:
    for argument in get_args(annotation):
        try:
            return conform(value, argument, what=what)
        except _OutOfRange:  # the type fits, so no other argument of the union will do
            raise
        except InputError:
            continue
    raise InputError(f"{what} is {describe(annotation)}, got {value!r}")


def _conform_tuple(value: Any, annotation: Any, *, what: str) -> tuple[Any, ...]:
    arguments = get_args(annotation)
    if not isinstance(value, tuple | list):
        raise InputError(f"{what} is {describe(annotation)}, got {value!r}")
    if Ellipsis in arguments:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise InputError(f"{what} is {describe(annotation)}, got {value!r}")
    return tuple(
        conform(item, argument, what=f"{what}[{index}]")
        for index, (item, argument) in enumerate(zip(value, arguments, strict=True))
    )


def _takes_text(annotation: Any) -> bool:
    if get_origin(annotation) is typing.Annotated:
        return _takes_text(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType, Literal):
        return any(_takes_text(argument) or isinstance(argument, str) for argument in get_args(annotation))
    return annotation in (str, Any, _EMPTY)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
