"""The first hour with vjax: every command of the README as typed, in order, on a fresh clone in a fresh environment.

Nothing is downloaded. The new environment finds the packages that vjax needs in the environment of the tests, and pip
installs vjax itself: so the wheel must hold all that the commands need. The quickstart is the real one; the other
configs are the tiny versions.
"""

import json
import os
import pathlib
import re
import shutil
import site
import subprocess
import sys

import pytest
from user_folder import read_blocks, run_bash, write_command, write_tiny_configs, write_user_videos

ROOT = pathlib.Path(__file__).parents[2]
README = ROOT / "README.md"
WIDTH = 80

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone with an environment in `.venv`, and the videos of a user in it."""
    if not (ROOT / ".git").exists():
        pytest.skip("the tests do not run in a clone")
    folder = tmp_path_factory.mktemp("hour") / "vjax"
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
    # Without pip and setuptools, so that those of the tests are found.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    (packages,) = (folder / ".venv").glob("lib/python*/site-packages")
    # As text, not as a site directory: the editable vjax of the tests must not be found through it.
    (packages / "packages_of_the_tests.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    # pip downloads nothing, and CI runs the suite itself.
    offline = 'exec "$(dirname "$0")/python" -m pip "$@" --no-index --no-build-isolation'
    write_command(folder / ".venv/bin/pip", offline)
    write_command(folder / ".venv/bin/pytest", "exit 0")
    write_tiny_configs(folder / "configs", leaving=["quickstart"])
    write_user_videos(folder)
    return folder


@pytest.fixture(scope="module")
def type_in(clone):
    """A function that runs shell commands in the clone, in its environment, and returns what they print."""
    dropped = ("XLA_FLAGS", "PYTHONPATH", "COLUMNS")
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    environment |= {
        "PATH": f"{clone}/.venv/bin:{os.environ['PATH']}",
        "VIRTUAL_ENV": str(clone / ".venv"),
    }

    def run(commands, folder=clone):
        done = run_bash(commands, folder, environment)
        assert done.returncode == 0, f"{commands}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert "Traceback" not in done.stderr
        assert not re.search("^error", done.stderr, flags=re.MULTILINE), done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="module")
def said(clone, type_in):
    """What each block of the README printed, by the block."""
    first, *others = read_blocks(README, "bash")
    outputs = {first: type_in(first)}
    # The quickstart was the real one; its comparisons would take minutes.
    write_tiny_configs(clone / "configs")
    return outputs | {block: type_in(block) for block in others}


def said_by(said, command):
    """What the only block with a command printed."""
    (output,) = [output for block, output in said.items() if command in block]
    return output


def promised_accuracy():
    """The accuracy of the quickstart in the README, with its interval."""
    found = re.search(r"video@1 of ([\d.]+) \(95 %\s+interval ([\d.]+) to ([\d.]+)", README.read_text())
    return tuple(map(float, found.groups()))


def vjax_is_installed_by_pip_and_runs_from_there(clone, type_in, said):
    place = type_in("cd / && python -c 'import vjax; print(vjax.__file__)'")
    assert str(clone / ".venv") in place


def the_quickstart_reaches_what_the_readme_promises(clone, said):
    result = json.loads((clone / "runs/quickstart/result.json").read_text())
    _, low, _ = promised_accuracy()
    assert result["video@1"] >= low
    output = said_by(said, "pip install . ")
    assert f"{result['video@1']:.3f}" in output
    assert "95 % interval" in output


def a_run_leaves_the_files_that_the_readme_names(clone, said):
    (text,) = re.findall(r"## What a run leaves\n(.*?)\n## ", README.read_text(), flags=re.DOTALL)
    named = set(re.findall(r"`([\w.]+/?)`", text)) - {"outside.json", "lengths.json", "split.csv"}  # not in this run
    assert "confusion.png" in named
    assert [name for name in sorted(named) if not (clone / "runs/quickstart" / name).exists()] == []


def the_commands_that_a_run_says_are_next_work_as_typed(clone, type_in, said):
    output = said_by(said, "--workdir runs/mine")
    commands = re.findall(r"(?:next:|^ +)\s*(vjax (?:evaluate|predict) runs/mine.*)", output, flags=re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        type_in(command.replace("VIDEO", "new.mp4"))


def a_run_says_at_its_end_how_far_its_number_can_be_trusted(said):
    output = said_by(said, "--workdir runs/mine")
    assert "chance" in output
    assert "too few to tell most networks apart" in re.sub(r"\s+", " ", output)


def the_split_that_was_written_is_one_to_train_on(type_in, said):
    command = re.search("train on it:\n  (.*split.csv)", said_by(said, "vjax split videos")).group(1)
    type_in(f"{command} --workdir runs/split")


def predict_says_in_one_line_what_it_thinks_of_a_video(said):
    output = said_by(said, "vjax predict runs/mine new.mp4")
    assert re.search(r"^new.mp4\W.*(run|walk)", output, flags=re.MULTILINE)


def outside_of_the_clone_the_configs_have_names(type_in, said, tmp_path):
    assert "folder" in type_in("vjax configs", tmp_path)
    type_in("vjax train --config quickstart:tiny", tmp_path)
    assert (tmp_path / "runs/quickstart_tiny/result.json").exists()


def what_the_commands_print_fits_a_terminal(said):
    long = [line for output in said.values() for line in output.splitlines() if len(line) > WIDTH]
    of_pip_and_tfds = r"site-packages|WARNING|Processing|wheel|^Downloading and preparing|^Dataset \w+ downloaded"
    assert [line for line in long if not re.search(of_pip_and_tfds, line)] == []


def a_run_that_is_killed_continues_with_the_same_command(clone, type_in, said):
    command = "vjax train --config folder --config.source.root=videos --workdir runs/cut --config.length=8"
    shutil.rmtree(clone / "runs/cut", ignore_errors=True)
    type_in(f"{command} & job=$!; until [ -d runs/cut/checkpoints/2 ]; do sleep 0.1; done; kill -9 $job; wait || true")
    assert "step 8/8" in type_in(command)


def test_the_first_hour_goes_as_the_readme_says(clone, type_in, said, tmp_path):
    """One test, because the workers of pytest would each play the hour for their share of several."""
    vjax_is_installed_by_pip_and_runs_from_there(clone, type_in, said)
    the_quickstart_reaches_what_the_readme_promises(clone, said)
    a_run_leaves_the_files_that_the_readme_names(clone, said)
    the_commands_that_a_run_says_are_next_work_as_typed(clone, type_in, said)
    a_run_says_at_its_end_how_far_its_number_can_be_trusted(said)
    the_split_that_was_written_is_one_to_train_on(type_in, said)
    predict_says_in_one_line_what_it_thinks_of_a_video(said)
    outside_of_the_clone_the_configs_have_names(type_in, said, tmp_path)
    what_the_commands_print_fits_a_terminal(said)
    a_run_that_is_killed_continues_with_the_same_command(clone, type_in, said)
