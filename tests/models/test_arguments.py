import jax.numpy as jnp
import pytest

from vjax import models, typed
from vjax.models.arguments import DTYPES, Dropout, DropoutOfLayers, DType, Remat


@pytest.mark.parametrize("name", models.NETWORKS)
def test_an_option_has_the_same_type_and_range_in_every_network(name):
    options = models.NETWORKS.options(name)
    for key, allowed in {"dtype": [DType], "dropout": [Dropout, DropoutOfLayers], "remat": [Remat]}.items():
        assert key not in options or options[key].annotation in allowed


@pytest.mark.parametrize("option", [Dropout, DropoutOfLayers, DType, Remat])
def test_every_option_says_what_it_is(option):
    assert len(typed.description(option).split()) > 5


def test_dtypes_have_the_names_of_their_arrays():
    assert {name: jnp.zeros(1, dtype).dtype.name for name, dtype in DTYPES.items()} == {name: name for name in DTYPES}
