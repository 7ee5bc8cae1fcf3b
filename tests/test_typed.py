"""Values by their type: what each annotation takes, from Python, from JSON and from the command line."""

import dataclasses
import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjax.errors import InputError
from vjax.spec import Choice, OneOf, Range, Table
from vjax.typed import as_plain, check_fields, conform, parse


def brush(width: int, *, colour: str = "red"):
    return width, colour


BRUSHES = Table({"brush": brush})


@dataclasses.dataclass(frozen=True)
class Inner:
    share: Annotated[float, Range(0, at_most=1)] = 0.5
    sizes: tuple[int, ...] = (1, 2)


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    tool: Annotated[Choice, BRUSHES] = Choice("brush", width=3)
    side: int | tuple[int, int] = 8
    rate: float | None = None
    kind: Literal["a", "b"] = "a"
    layout: Annotated[str, OneOf({"data": 1, "fsdp": 2})] = "data"


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("3", int, 3),
        ("3", float, 3.0),
        ("1e-3", float, 0.001),
        ("7", str, "7"),
        ("none", str, "none"),
        ("none", float | None, None),
        ("None", int | None, None),
        ("true", bool, True),
        ("False", bool, False),
        ("(48, 60)", int | tuple[int, int], (48, 60)),
        ("48,60", int | tuple[int, int], (48, 60)),
        ("30 epochs", int | str, "30 epochs"),
        ("30", int | str, 30),
        ("[1, 2, 3]", tuple[int, ...], (1, 2, 3)),
        ("a", Literal["a", "b"], "a"),
        ("/a/b=c", str, "/a/b=c"),
        ("anything", Any, "anything"),
    ],
)
def test_a_text_becomes_what_its_type_says(text, annotation, value):
    found = parse(text, annotation, what="x")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        (0.5, int, "x is a whole number, got 0.5"),
        (True, int, "x is a whole number, got True"),
        ("1", float, "x is a number, got '1'"),
        (1, bool, "x is True or False, got 1"),
        (3, str, "x is a text, got 3"),
        (None, int, "x is a whole number, got None"),
        ("fast", float | None, "x is a number or none, got 'fast'"),
        (-1, Annotated[int, Range(0)], "x must be 0 or more, got -1"),
        (-1.0, Annotated[float, Range(0)] | None, "x must be 0 or more, got -1.0"),
        ((1.0, -1.0), Annotated[tuple[float, float], Range(0)], r"x must be 0 or more, got \(1.0, -1.0\)"),
        ((1, 2, 3), tuple[int, int], r"x is 2 whole numbers, got \(1, 2, 3\)"),
        ((1, "b"), tuple[int, ...], r"x\[1\] is a whole number, got 'b'"),
        ("c", Literal["apple", "pear"], "x does not know 'c'"),
        (2, Literal[1, 3], "x is 1 or 3, got 2"),
        ("dta", Annotated[str, OneOf(["data"])], "x does not know 'dta'; did you mean 'data'"),
        ({"iner": {}}, Outer, "x does not know 'iner'; did you mean 'inner'"),
        ({"inner": {"share": 2}}, Outer, r"x.inner.share must lie in \[0, 1\], got 2"),
        ({"inner": 3}, Outer, "x.inner is a section with the keys share, sizes; got 3"),
        ({"tool": {"name": "brush"}}, Outer, "x.tool 'brush' needs a value for: width"),
        ({"tool": {"width": 3}}, Outer, "x.tool needs a name; choose one of: brush"),
        ({"tool": "brush"}, Outer, "x.tool is a name and its options, got 'brush'"),
        ({"tool": Choice("brsh", width=3)}, Outer, "x.tool does not know 'brsh'; did you mean 'brush'"),
        ({"tool": Choice("brush", widht=3)}, Outer, "x.tool 'brush' does not know 'widht'; did you mean 'width'"),
        ({"tool": Choice("brush", width="w")}, Outer, "x.tool.width is a whole number, got 'w'"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(value, annotation, message):
    with pytest.raises(InputError, match=f"^{message}"):
        conform(value, annotation, what="x")


def test_defaults_are_filled_in_to_the_last_option():
    assert conform({}, Outer, what="x").tool == Choice("brush", width=3, colour="red")


def test_an_object_that_was_made_with_a_wrong_value_is_found():
    with pytest.raises(InputError, match=r"x.inner.share must lie in \[0, 1\], got 7"):
        conform(Outer(inner=Inner(share=7)), Outer, what="x")
    with pytest.raises(InputError, match=r"thing.share must lie in \[0, 1\], got 7"):
        check_fields(Inner(share=7), what="thing")


@given(
    share=st.floats(0, 1),
    sizes=st.lists(st.integers(), max_size=4),
    side=st.integers() | st.tuples(st.integers(), st.integers()),
    rate=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    width=st.integers(),
    colour=st.text(),
)
def test_what_is_written_as_json_is_read_back_as_the_same(share, sizes, side, rate, width, colour):
    tool = Choice("brush", width=width, colour=colour)
    value = conform(Outer(Inner(share, tuple(sizes)), tool, side, rate), Outer, what="x")
    assert conform(json.loads(json.dumps(as_plain(value))), Outer, what="x") == value


@given(
    value=st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_a_python_literal_is_read_as_itself(value):
    assert parse(repr(value), bool | int | float | None, what="x") == value
