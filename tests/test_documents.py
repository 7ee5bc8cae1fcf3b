"""What the README and the docstrings show is what runs."""

import doctest
import importlib
import json
import os
import pathlib
import re
import shlex
import subprocess

import pytest
from outside_network import Mine
from video_files import write_folder

from vjax.cli.main import main
from vjax.config_file import load_config

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = [line.partition("#")[0] for line in README.splitlines() if line.startswith("vjax ")]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted(ROOT.glob("vjax/**/*.py"))
    if ">>>" in path.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_docstring_run(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0


def test_the_readmes_network_example_runs():
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    (block,) = [text for text in blocks if "network.apply" in text]
    names = {}
    exec(block, names)
    assert names["logits"].shape == (2, 1, 10)


def test_the_readmes_examples_of_training_run(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    text = "\n".join(block for block in blocks if "vjax.fit(" in block)
    root = write_folder(tmp_path / "videos")
    (tmp_path / "new.mp4").write_bytes(next(root.rglob("*.mp4")).read_bytes())
    monkeypatch.chdir(tmp_path)
    names = {"Mine": Mine}
    exec(text.replace("configs/folder.py", f"{ROOT}/configs/folder.py:tiny"), names)
    assert names["result"]["num_videos"] == 2
    assert isinstance(names["trained"].network, Mine)
    assert "mean_class" in json.loads((tmp_path / "runs/own/result.json").read_text())


def test_the_readmes_config_is_one(tmp_path):
    (block,) = [text for text in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL) if "get_config" in text]
    (tmp_path / "mine.py").write_text(block)
    assert load_config(str(tmp_path / "mine.py")).length == 2000


def test_the_configs_of_the_readme_exist():
    named = set(re.findall(r"configs/\w+\.py", README))
    assert named == {str(path.relative_to(ROOT)) for path in ROOT.glob("configs/*.py")}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_has_flags_that_exist(line, capsys):
    """With `--help` added nothing is run, but an unknown command or a wrong choice before it would still fail."""
    with pytest.raises(SystemExit) as stop:
        main([*shlex.split(line)[1:], "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for flag in re.findall(r"--(?!config\.)[a-z]+", line):
        assert flag in shown


@pytest.mark.slow
def test_the_commands_of_scaling_run_as_they_are_written(tmp_path):
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "docs/scaling.md").read_text(), flags=re.DOTALL)
    assert len(blocks) == 3
    for name in ("train.py", "configs", "benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    for block in blocks:
        done = subprocess.run(
            ["bash", "-euc", block], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "rror" not in done.stderr
    results = [json.loads((tmp_path / f"runs/{name}/result.json").read_text()) for name in ("one", "two")]
    assert results[0]["loss"] == pytest.approx(results[1]["loss"], rel=1e-3)


def test_the_files_that_the_documents_link_to_exist():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_holds_the_test_command_that_ci_runs():
    assert "pip install '.[test]' && pytest" in README.splitlines()
