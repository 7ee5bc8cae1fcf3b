"""Every config that comes with vjax is loaded, checked, and its tiny version trained."""

import io
import pathlib

import pytest
from official_layouts import LAYOUTS
from video_files import write_folder

import vjax
from vjax.config_file import PREFIX, list_keys

CONFIGS = sorted(pathlib.Path(__file__).parents[1].joinpath("configs").rglob("*.py"))
GENERATED = ("quickstart", "early_fusion", "late_fusion", "slow_fusion")


def overrides(path, tmp_path):
    """What a person would have to give on the command line."""
    if path.stem in GENERATED:
        return [f"--config.source.data_dir={tmp_path}/data"]
    write = LAYOUTS.get(path.stem, write_folder)
    more = {
        "weizmann": ["--config.held_out=ann"],
        "weizmann_imagenet": ["--config.held_out=ann"],
        # A network of one size: its tiny version would take as long to compile as all others together.
        "finetune": ["--config.network.name=slow_fusion", "--config.network.backbone.widths=(4,8,8)"],
    }
    return [f"--config.source.root={write(tmp_path / 'videos')}", *more.get(path.stem, [])]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_says_in_its_docstring_what_it_is_and_how_to_run_it(path):
    config = vjax.load_config(str(path))
    assert config.train_view.size == config.test_view.size
    assert config.create_network(3) is not None
    text = path.read_text()
    assert text.startswith('"""')
    assert path.stem == "quickstart" or f"configs/{path.relative_to(CONFIGS[0].parent)}" in text


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
    assert not config.init.weights, "a test has no weights"
    result = vjax.train(config, tmp_path / "run", console=io.StringIO())
    assert 0 <= result["video@1"] <= 1
    assert result["num_videos"] > 0


def test_the_keys_of_fine_tuning_fit_its_network(tmp_path):
    path = f"{CONFIGS[0].parent / 'finetune.py'}"
    root = write_folder(tmp_path / "videos")
    vjax.build(vjax.load_config(path, [f"--config.source.root={root}"])).check()
    wrong = vjax.load_config(path, [f"--config.source.root={root}", "--config.layer_rates=stem=0"])
    with pytest.raises(vjax.InputError, match=r"'stem'. Its layers: backbone/BasicBlock_0, backbone/BasicBlock_1, ba"):
        vjax.build(wrong).check()
