import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjax.errors import InputError
from vjax.ops.length import to_steps

sizes = {"batch_size": st.integers(1, 512), "num_examples": st.integers(1, 10**6)}


@given(number=st.integers(0, 10**9), **sizes)
def test_a_number_is_a_number_of_steps_in_every_spelling(number, batch_size, num_examples):
    for length in (number, str(number), f"{number} steps", f" {number}step "):
        found = to_steps(length, batch_size=batch_size, num_examples=num_examples, what="x")
        assert found == number


@given(number=st.integers(0, 10**6), **sizes)
def test_the_steps_of_examples_are_the_fewest_that_see_as_many(number, batch_size, num_examples):
    found = to_steps(f"{number} examples", batch_size=batch_size, num_examples=num_examples, what="x")
    assert (found - 1) * batch_size < number <= found * batch_size


@given(number=st.integers(0, 1000), **sizes)
def test_an_epoch_is_as_many_examples_as_there_are_videos(number, batch_size, num_examples):
    of_epochs = to_steps(f"{number} epochs", batch_size=batch_size, num_examples=num_examples, what="x")
    of_examples = to_steps(
        f"{number * num_examples} examples", batch_size=batch_size, num_examples=num_examples, what="x"
    )
    assert of_epochs == of_examples


def test_parts_of_an_epoch_are_exact():
    assert to_steps("0.1 epochs", batch_size=10, num_examples=1000, what="x") == 10
    assert to_steps("0.5 epoch", batch_size=16, num_examples=100, what="x") == 4


@pytest.mark.parametrize("length", ["30 days", "epochs", "-1 epochs", -1, "", "1e3", "60 s", "3 epochs 2 steps"])
def test_what_is_no_length_is_refused(length):
    with pytest.raises(InputError, match=r"config.length is a number of steps, or a text such as"):
        to_steps(length, batch_size=1, num_examples=1, what="config.length")
