"""What an override may do to a whole section, and how an error without a near name reads."""

import pytest

from vjax import config, spec
from vjax.errors import InputError


@pytest.mark.parametrize("value", ["1", "None"])
def test_a_section_cannot_be_replaced_by_a_value(tmp_path, value):
    page = tmp_path / "page.py"
    page.write_text(
        "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict(dict(clip=dict(fps=5.0)))\n"
    )
    with pytest.raises(InputError, match=r"config\.clip"):
        config.load_config(str(page), [f"--config.clip={value}"])


def test_where_no_name_is_near_the_allowed_ones_stand_in_a_sentence_of_their_own():
    with pytest.raises(InputError, match=r"network does not know 'xyz'[.;:] Allowed: list, pair"):
        spec.check_names(["xyz"], ["pair", "list"], what="network")
