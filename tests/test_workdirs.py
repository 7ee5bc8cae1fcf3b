import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import vjax
from vjax import typed, workdirs
from vjax.config import check_config
from vjax.config_file import load_config
from vjax.errors import InputError
from vjax.json_files import as_json

CONFIGS = Path(__file__).parents[1] / "configs"

HOLD = """
import sys, time
from pathlib import Path
from vjax import workdirs
with workdirs.claimed(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def hold(workdir):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(workdir)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_run_is_kept_out_while_the_first_lives_and_let_in_when_it_was_killed(tmp_path):
    first = hold(tmp_path)
    try:
        with pytest.raises(InputError, match="another run is using it; wait until it ends, or choose"):
            vjax.train(load_config(f"{CONFIGS}/quickstart.py:tiny"), tmp_path)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    with workdirs.claimed(tmp_path):
        (tmp_path / "config.json").touch()
    assert (tmp_path / "config.json").exists()


def test_a_run_that_cannot_start_leaves_no_directory(tmp_path):
    with pytest.raises(ValueError, match="no data"), workdirs.claimed(tmp_path / "run"):
        raise ValueError("no data")
    assert not (tmp_path / "run").exists()


def test_a_directory_that_was_there_stays(tmp_path):
    with workdirs.claimed(tmp_path):
        pass
    assert tmp_path.is_dir()


@pytest.mark.parametrize("code", workdirs._WITHOUT_LOCKS)
def test_without_locks_a_run_goes_on(tmp_path, monkeypatch, code):
    def no_locks(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(workdirs.fcntl, "flock", no_locks)
    with workdirs.claimed(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_a_run_of_an_older_version_has_the_defaults_of_keys_that_it_did_not_have(tmp_path):
    config = check_config(vjax.Config())
    resolved = as_json(typed.as_plain(config))
    older = json.loads(json.dumps(resolved))
    del older["clip"]["input"], older["augment"]["rate"]
    (tmp_path / "config.json").write_text(json.dumps(older))
    workdirs.check_config(tmp_path, resolved)
    changed = dataclasses.replace(config, clip=dataclasses.replace(config.clip, input="difference"))
    with pytest.raises(InputError, match=r"config.clip.input is 'rgb' there and 'difference' here"):
        workdirs.check_config(tmp_path, as_json(typed.as_plain(changed)))
