import jax.numpy as jnp
import pytest

from vjax.errors import InputError
from vjax.models.checks import check_rate, check_size, check_widths


@pytest.mark.parametrize("widths", [(), (8, 0), (-1,)])
def test_widths_below_1_and_no_widths_are_refused(widths):
    check_widths((1, 8), what="a network")
    with pytest.raises(InputError, match="a network needs a width of 1 or more for each of its stages"):
        check_widths(widths, what="a network")


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan")])
def test_a_rate_that_is_no_probability_below_1_is_refused(rate):
    check_rate(0.0, what="a rate")
    check_rate(0.99, what="a rate")
    with pytest.raises(InputError, match=f"a rate is a probability from 0 to below 1, got {rate}"):
        check_rate(rate, what="a rate")


def test_clips_that_are_too_short_or_too_small_are_refused_with_both_sizes():
    check_size(jnp.zeros((1, 4, 8, 9, 3)), min_frames=4, min_size=8, what="a network")
    with pytest.raises(InputError, match="a network needs clips of at least 5 frames, got 4"):
        check_size(jnp.zeros((1, 4, 8, 9, 3)), min_frames=5, min_size=8, what="a network")
    with pytest.raises(InputError, match="a network needs frames of at least 9 x 9, got 8 x 9"):
        check_size(jnp.zeros((1, 4, 8, 9, 3)), min_frames=4, min_size=9, what="a network")
