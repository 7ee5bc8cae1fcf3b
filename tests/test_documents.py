"""What the README, the pages and the docstrings show is what runs."""

import doctest
import importlib
import importlib.util
import json
import pathlib
import re
import runpy
import shlex

import pytest
from user_folder import make_user_folder, read_blocks, run_block
from video_files import write_folder

from vjax.cli.main import main
from vjax.config_file import load_config, shipped_configs

ROOT = pathlib.Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
COMMANDS = [
    line.partition("#")[0]
    for page in PAGES
    for block in read_blocks(page, "bash")
    for line in block.splitlines()
    if line.startswith("vjax ") and "$" not in line
]
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_says_what_it_is(page):
    """Blocks of `bash` and `python` are run by the tests below; `text` is not a command."""
    fences = re.findall(r"^```(.*)$", page.read_text(), flags=re.MULTILINE)
    assert set(fences[::2]) <= {
        "bash",
        "python",
        "text",
        "{eval-rst}",
        "{toctree}",
        "{include} ../README.md",
        "{include} ../CONTRIBUTING.md",
    }
    assert not any(fences[1::2])
    assert page in (README,) or not read_blocks(page, "python")


def test_the_readmes_network_example_runs():
    (block,) = [text for text in read_blocks(README, "python") if "network.apply" in text]
    names = {}
    exec(block, names)
    assert names["logits"].shape == (2, 1, 10)


def test_the_readmes_examples_of_training_run(tmp_path, monkeypatch):
    text = "\n".join(block for block in read_blocks(README, "python") if "vjax.fit(" in block)
    root = write_folder(tmp_path / "videos")
    (tmp_path / "new.mp4").write_bytes(next(root.rglob("*.mp4")).read_bytes())
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(text.replace("configs/folder.py", f"{ROOT}/configs/folder.py:tiny"), names)
    assert names["result"]["num_videos"] == 2
    assert isinstance(names["trained"].network, names["Mine"])
    assert "worst_class" in json.loads((tmp_path / "runs/own/result.json").read_text())


def test_the_readmes_config_is_one(tmp_path):
    (block,) = [text for text in read_blocks(README, "python") if "get_config" in text]
    (tmp_path / "mine.py").write_text(block)
    assert load_config(str(tmp_path / "mine.py")).length == 2000


def test_the_configs_of_the_readme_exist():
    named = set(re.findall(r"configs/([\w/]+)\.py", README.read_text()))
    assert named == set(shipped_configs())


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_a_page_has_flags_that_exist(line, capsys):
    """With `--help` added nothing is run, but an unknown command or a wrong choice before it would still fail."""
    with pytest.raises(SystemExit) as stop:
        main([*shlex.split(line)[1:], "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for flag in re.findall(r"--(?!config\.)[a-z]+", line):
        assert flag in shown


@pytest.mark.slow
@pytest.mark.parametrize("name", ["docs/data.md", "docs/scaling.md"])
def test_the_commands_of_a_page_run_one_after_the_other_as_they_are_typed(name, tmp_path):
    """The only difference: the configs are the tiny versions, and `pip` installs nothing.

    The README's commands are those of tests/walk.
    """
    folder = make_user_folder(tmp_path / "me")
    blocks = read_blocks(ROOT / name, "bash")
    assert blocks
    for block in blocks:
        if "--runner" in block and not importlib.util.find_spec("apache_beam"):
            continue
        done = run_block(block, folder)
        assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert "Traceback" not in done.stderr
        assert not re.search("^error", done.stderr, flags=re.MULTILINE), done.stderr
    if name == "docs/scaling.md":
        losses = [json.loads((folder / f"runs/{run}/result.json").read_text())["loss"] for run in ("one", "two")]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize(
    "line", [line for block in read_blocks(ROOT / "docs/benchmarks.md", "bash") for line in block.splitlines()]
)
def test_a_command_of_the_benchmarks_has_flags_that_exist(line):
    """They take minutes to hours, and some need PyTorch: CI does not run them."""
    script = re.search(r"benchmarks/\w+\.py", line).group()
    text = (ROOT / script).read_text()
    assert all(f'"{flag}"' in text for flag in re.findall(r"(--\w+)", line))


@pytest.mark.parametrize("name", ["keys", "models"])
def test_a_page_that_a_script_writes_is_current(name):
    page = runpy.run_path(str(ROOT / f"docs/write_{name}.py"))["page"]()
    assert (ROOT / f"docs/{name}.md").read_text() == page


def test_the_files_that_the_documents_link_to_exist():
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_holds_the_test_command_that_ci_runs():
    assert "pip install '.[test]' && pytest" in README.read_text().splitlines()
