"""Every config that comes with vjax is loaded, checked, and its tiny version trained."""

import io
import pathlib

import pytest
from official_layouts import LAYOUTS
from video_files import write_folder

import vjax
from vjax.config_file import PREFIX, list_keys

CONFIGS = sorted(pathlib.Path(__file__).parents[1].joinpath("configs").glob("*.py"))


def overrides(path, tmp_path):
    """What a person would have to give on the command line."""
    if path.stem == "quickstart":
        return [f"--config.source.data_dir={tmp_path}/data"]
    write = LAYOUTS.get(path.stem, write_folder)
    held_out = ["--config.held_out=ann"] if path.stem == "weizmann" else []
    return [f"--config.source.root={write(tmp_path / 'videos')}", *held_out]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_says_in_its_docstring_what_it_is_and_how_to_run_it(path):
    config = vjax.load_config(str(path))
    assert config.train_view.size == config.test_view.size
    assert config.create_network(3) is not None
    text = path.read_text()
    assert text.startswith('"""')
    assert path.stem == "quickstart" or f"configs/{path.name}" in text


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_key_that_a_config_lists_can_be_set_to_its_own_value(path):
    config = vjax.load_config(str(path))
    keys = list_keys(config)
    words = [f"{PREFIX}{key}={value}" for key, value, *_ in keys]
    assert vjax.load_config(str(path), words) == config
    assert len(keys) > 50


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_tiny_version_of_a_config_trains(path, tmp_path):
    config = vjax.load_config(f"{path}:tiny", overrides(path, tmp_path))
    result = vjax.train(config, tmp_path / "run", console=io.StringIO())
    assert 0 <= result["video@1"] <= 1
    assert result["num_videos"] > 0
