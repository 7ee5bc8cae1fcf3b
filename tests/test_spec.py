import pytest

from vjax import spec
from vjax.config import load_config
from vjax.errors import InputError

PAGE = """
from ml_collections import ConfigDict

def get_config():
    return ConfigDict(dict(lr=0.1, steps=10, name="x", size=32, flip=True, maybe=None, inner=dict(value=1)))

def tiny():
    config = get_config()
    config.steps = 1
    return config

def wrong():
    return {"lr": 0.1}
"""


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.py"
    path.write_text(PAGE)
    return path


def pair(*, first, second=2):
    return first, second


def test_a_spec_calls_what_it_names():
    assert spec.create({"name": "pair", "first": 1}, {"pair": pair}, what="thing") == (1, 2)
    assert spec.create({"name": "pair"}, {"pair": pair}, what="thing", first=5) == (5, 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "thing needs a name; choose one of: pair"),
        ({"name": "pear"}, "thing does not know 'pear'; did you mean 'pair'. Allowed: pair"),
        ({"name": "pair", "first": 1, "secnd": 3}, "thing 'pair' does not know 'secnd'; did you mean 'second'"),
        ({"name": "pair"}, "thing 'pair' needs a value for: first"),
    ],
)
def test_a_spec_that_does_not_fit_is_explained(given, message):
    with pytest.raises(InputError, match=message):
        spec.create(given, {"pair": pair}, what="thing")


def test_what_the_caller_supplies_cannot_be_set():
    with pytest.raises(InputError, match="does not know 'first'"):
        spec.create({"name": "pair", "first": 1}, {"pair": pair}, what="thing", first=5)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("--config.lr=0.5", "lr", 0.5),
        ("--config.lr=2", "lr", 2),
        ("--config.steps=20", "steps", 20),
        ("--config.name=/a/b=c", "name", "/a/b=c"),
        ("--config.name=7", "name", "7"),
        ("--config.size=(48, 60)", "size", (48, 60)),
        ("--config.flip=False", "flip", False),
        ("--config.maybe=3.5", "maybe", 3.5),
        ("--config.inner.value=4", "inner", {"value": 4}),
    ],
)
def test_the_command_line_sets_a_key(page, override, key, value):
    assert load_config(str(page), [override])[key] == value


def test_a_config_has_more_than_one_version(page):
    assert load_config(f"{page}:tiny")["steps"] == 1
    assert load_config(str(page))["steps"] == 10


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.stepz=3", "config does not know 'stepz'; did you mean 'steps'"),
        ("--config.inner.val=3", "config.inner does not know 'val'; did you mean 'value'"),
        ("--config.iner.value=3", "config does not know 'iner'; did you mean 'inner'"),
        ("--config.lr.value=3", "config.lr is a value, not a section"),
        ("--config.lr", "a key of the config is set by --config.KEY=VALUE"),
        ("--config.steps=many", "config.steps takes a int such as 10, or a length such as '30 epochs', got 'many'"),
        ("--config.flip=1", "config.flip takes a bool such as True, got '1'"),
        ("--config.steps=True", "config.steps takes a int such as 10, or a length such as '30 epochs', got 'True'"),
        ("--config.inner=3", "config.inner takes a dict"),
    ],
)
def test_an_override_that_does_not_work_is_explained(page, override, message):
    with pytest.raises(InputError, match=message):
        load_config(str(page), [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:", "does not work as a config: SyntaxError"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("x = 1", "does not know 'get_config'"),
    ],
)
def test_a_file_that_is_no_config_is_explained(tmp_path, text, message):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_config(str(path))


def test_a_missing_file_and_a_wrong_result_are_explained(page):
    with pytest.raises(InputError, match=r"there is no file 'nowhere.py'"):
        load_config("nowhere.py")
    with pytest.raises(InputError, match=r"wrong\(\) must return an ml_collections.ConfigDict, got dict"):
        load_config(f"{page}:wrong")
