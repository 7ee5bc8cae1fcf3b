"""What a config may not say: every wrong value is one line that names its key, and takes no work directory."""

import math
from pathlib import Path

import pytest

import vjax
from vjax.config import check_config
from vjax.config_file import load_config
from vjax.errors import InputError
from vjax.typed import as_plain

CONFIGS = Path(__file__).parents[1] / "configs"

WRONG = {
    "seed": [0.5, -1, None, "1", True, 2**32],
    "batch_size": [0, 1.5, None, "16"],
    "test.batch_size": [0, 1.5, None],
    "accumulate": [0, None, 1.5, "2"],
    "num_workers": [-1, "3 epochs", None, 0.5],
    "label_smoothing": [1.5, 1, -0.1, None, "0.1", math.nan],
    "ema_decay": [1, -0.1, None, math.nan],
    "data_timeout_s": [0, None, "10", math.nan],
    "skip_nonfinite": [None, 2, "yes"],
    "length": [0, None, "3 weeks", -1],
    "log_every": [0, None, "often"],
    "evaluate_every": [0, None],
    "checkpoint_every": [0, None],
    "sharding": ["all", None],
    "normalization.mean": [0.5, (0.5,), "half", (0.5, 0.5, None)],
    "normalization.std": [0.5, (0.1, 0.1, 0), (0.1, 0.1, 0.1, 0.1)],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_wrong_value_is_named_before_anything_is_written(tmp_path, key, value):
    config = as_plain(load_config(f"{CONFIGS}/quickstart.py:tiny"))
    *sections, name = key.split(".")
    section = config
    for part in sections:
        section = section[part]
    section[name] = value
    with pytest.raises(InputError, match=rf"config\.{key}"):
        vjax.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mean", [(0.4, 0.5, 0.6), [0, 0, 0]])
def test_channels_are_three_numbers(mean):
    config = as_plain(load_config(f"{CONFIGS}/quickstart.py:tiny"))
    assert check_config({**config, "normalization": {"mean": mean}}).normalization.mean == tuple(mean)
