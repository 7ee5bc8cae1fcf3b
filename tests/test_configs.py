"""Every config that comes with vjax is loaded, checked, and its tiny version trained."""

import io
import pathlib

import pytest
from official_layouts import LAYOUTS
from video_files import write_folder

import vjax
from vjax.settings import Settings

CONFIGS = sorted(pathlib.Path(__file__).parents[1].joinpath("configs").glob("*.py"))


def overrides(path, tmp_path):
    """What a person would have to give on the command line."""
    if path.stem == "quickstart":
        return [f"--config.source.data_dir={tmp_path}/data"]
    write = LAYOUTS.get(path.stem, write_folder)
    held_out = ["--config.held_out=ann"] if path.stem == "weizmann" else []
    return [f"--config.source.root={write(tmp_path / 'videos')}", *held_out]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_sets_every_key_and_no_other(path):
    settings = Settings.parse(vjax.load_config(str(path)))
    view = settings.test_view
    assert settings.train_view.size == view.size
    assert settings.create_network(3) is not None
    assert path.read_text().startswith('"""')


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_tiny_version_of_a_config_trains(path, tmp_path):
    config = vjax.load_config(f"{path}:tiny", overrides(path, tmp_path))
    result = vjax.train(config, tmp_path / "run", console=io.StringIO())
    assert 0 <= result["video@1"] <= 1
    assert result["num_videos"] > 0
