import os
import subprocess
import sys

import pytest
from processes import CONFIG, arguments, error_line
from video_files import write_folder

from vjax.errors import InputError
from vjax.training.weights_and_biases import WeightsAndBiases


def train(tmp_path, root, **environment):
    words = [f"--config.source.root={root}", "--config.wandb_project=tests", "--workdir", tmp_path / "run"]
    call = arguments("train.py", "--config", f"{CONFIG}:tiny", *words)
    call["env"] = call["env"] | environment
    return subprocess.run(**call, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_a_run_s_numbers_are_there_and_a_second_start_goes_on_with_the_same_run(tmp_path):
    root = write_folder(tmp_path / "videos")
    done = train(tmp_path, root, WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    (tmp_path / "run" / "result.json").unlink()
    done = train(tmp_path, root, WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    known_as = (tmp_path / "run" / "wandb" / "id").read_text()
    files = list((tmp_path / "run" / "wandb").glob(f"offline-run-*-{known_as}/run-{known_as}.wandb"))
    assert len(files) == 2
    written = max((path.read_bytes() for path in files), key=len)
    assert b"train/loss" in written
    assert b"test/video@1" in written


def test_without_a_login_one_line_says_what_to_do(tmp_path):
    root = write_folder(tmp_path / "videos")
    done = train(tmp_path, root, WANDB_MODE="online", HOME=str(tmp_path), WANDB_BASE_URL="http://localhost:1")
    assert "wandb cannot start a run" in error_line(done)
    assert "run `wandb login` first, or set WANDB_MODE=offline" in done.stderr


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"pip install '\.\[wandb\]'"):
        WeightsAndBiases(tmp_path, project="tests", config={})
    assert not os.listdir(tmp_path)
