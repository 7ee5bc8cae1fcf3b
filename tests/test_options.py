"""An option is one field, or one keyword argument, and its use: nothing else in the project has to name it."""

import ast
import pathlib
import re
from typing import Annotated

import pytest

import vjax
from vjax import typed
from vjax.config import check_config
from vjax.config_file import list_keys, load_config
from vjax.data.sources import LISTINGS
from vjax.data.transforms import Augment, Mix
from vjax.errors import InputError
from vjax.models import NETWORKS
from vjax.models.backbones import BACKBONES
from vjax.models.fusion import SlowFusion
from vjax.spec import Range
from vjax.training.optim import OPTIMIZERS

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = {str(path.relative_to(ROOT)): path.read_text() for path in ROOT.glob("vjax/**/*.py")}
CONFIGS = sorted(ROOT.glob("configs/*.py"))

# Words that also mean other things in the package, so that counting files says nothing.
COMMON = {
    "annotations", "backbone", "cutmix", "depth", "dropout", "dtype", "group", "hidden", "learning_rate", "mixup",
    "momentum", "name", "norm", "pool", "rate", "root", "scale", "split", "stride", "warmup", "widths",
}  # fmt: skip
OPTIONS = {
    *typed.field_types(Augment),
    *typed.field_types(Mix),
    *(key for table in (NETWORKS, BACKBONES, OPTIMIZERS, LISTINGS) for name in table for key in table.options(name)),
} - COMMON


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_an_option_is_named_where_it_is_defined_and_where_it_is_used(option):
    files = {file for file, text in SOURCES.items() if re.search(rf"\b{option}\b", text)}
    # Families of networks may share an option: they count as one place.
    places = {"vjax/models" if file.startswith("vjax/models/") else file for file in files}
    assert 1 <= len(places) <= 3, files
    assert not files & {"vjax/config.py", "vjax/config_file.py", "vjax/run.py", "vjax/experiment.py"}


def squeezed(num_classes: int, *, squeeze: Annotated[float, Range(0, below=1), "share of channels."] = 0.25):
    """Returns a network with an option that vjax has never heard of."""
    (backbone,) = [BACKBONES["small"](widths=(round(32 * (1 - squeeze)),), temporal=True)]
    return SlowFusion(num_classes, backbone)


@pytest.fixture
def _squeezed(monkeypatch):
    monkeypatch.setitem(NETWORKS, "squeezed", squeezed)


@pytest.mark.usefixtures("_squeezed")
def test_a_new_option_is_set_shown_and_checked_with_no_other_line_of_code():
    page = str(ROOT / "configs/folder.py")
    config = load_config(page, ["--config.network.squeeze=0.5", "--config.network.name=squeezed"])
    (row,) = [row for row in list_keys(config) if row.key == "network.squeeze"]
    assert (row.value, row.default, row.what) == (0.5, 0.25, "share of channels.")
    assert check_config(typed.as_plain(config)) == config
    assert config.create_network(3).backbone.widths == (16,)
    with pytest.raises(InputError, match=r"config.network.squeeze must lie in \[0, 1\), got 1.5"):
        load_config(page, ["--config.network.name=squeezed", "--config.network.squeeze=1.5"])
    with pytest.raises(InputError, match="does not know 'squeez'; did you mean 'squeeze'"):
        load_config(page, ["--config.network.name=squeezed", "--config.network.squeez=0.5"])


def named_keys(call, where=""):
    """The keys that a config file's `Config(...)` names, with the sections and choices inside it."""
    for keyword in call.keywords:
        key = f"{where}{keyword.arg}"
        if isinstance(keyword.value, ast.Call):
            yield from named_keys(keyword.value, f"{key}.")
        else:
            yield key


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_file_names_only_what_differs_from_the_defaults(path):
    (function,) = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    rows = {row.key: row for row in list_keys(vjax.load_config(str(path)))}
    needless = {key for key in named_keys(function.body[-1].value) if rows[key].value == rows[key].default}
    assert not needless
