import pytest

from vjax import typed
from vjax.errors import InputError
from vjax.models import arguments


@pytest.mark.parametrize("name", ["Backbone", "Dropout", "DType", "Remat"])
def test_an_argument_says_what_it_is(name):
    assert len(typed.description(getattr(arguments, name)).split()) > 2


def test_a_dtype_is_one_of_those_there_are():
    for name in arguments.DTYPES:
        assert typed.conform(name, arguments.DType, what="dtype") == name
    with pytest.raises(InputError, match=r"dtype does not know 'float64'.* Allowed: bfloat16, float32$"):
        typed.conform("float64", arguments.DType, what="dtype")
