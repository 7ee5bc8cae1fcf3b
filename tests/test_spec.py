"""Ranges, choices and tables: what names and numbers are allowed, and how an error says so."""

import math

import pytest

from vjax.errors import InputError
from vjax.spec import Choice, Range, Table, check_names


def pair(*, first, second: int = 2):
    return first, second


PAIRS = Table({"pair": pair}, given=("first",))


@pytest.mark.parametrize(
    ("allowed", "inside", "outside", "words"),
    [
        (Range(1), [1, 7], [0.9], "be 1 or more"),
        (Range(above=0), [0.1], [0, -1], "be above 0"),
        (Range(below=2), [1], [2], "be below 2"),
        (Range(at_most=2), [2], [2.1], "be 2 or less"),
        (Range(0, below=1), [0, 0.9], [1, -0.1], r"lie in [0, 1)"),
        (Range(above=0, at_most=1), [1, 0.1], [0, 1.1], r"lie in (0, 1]"),
    ],
)
def test_a_range_holds_its_numbers_and_says_which(allowed, inside, outside, words):
    assert all(allowed.fits(value) for value in inside)
    assert not any(allowed.fits(value) for value in [*outside, math.nan])
    assert allowed.describe() == words


def test_a_table_makes_what_a_choice_names_from_its_options_and_what_is_given():
    assert PAIRS.create(Choice("pair", second=5), first=1) == (1, 5)


def test_options_are_the_arguments_that_the_caller_does_not_give():
    assert list(PAIRS.options("pair")) == ["second"]
    assert PAIRS.options("pair")["second"].default == 2


def test_choices_are_equal_where_name_and_options_are():
    assert Choice("pair", second=5) == Choice("pair", second=5) != Choice("pair", second=6)
    assert repr(Choice("pair", second=5)) == "Choice('pair', second=5)"


def test_the_nearest_name_is_offered():
    with pytest.raises(InputError, match=r"network does not know 'pear'; did you mean 'pair'\? Allowed: list, pair$"):
        check_names(["pear"], ["pair", "list"], what="network")


def test_where_no_name_is_near_the_allowed_ones_stand_in_a_sentence_of_their_own():
    with pytest.raises(InputError, match=r"network does not know 'xyz'\. Allowed: list, pair$"):
        check_names(["xyz"], ["pair", "list"], what="network")
