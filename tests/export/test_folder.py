"""`vjax export`: the folder of an exported network."""

import dataclasses
import functools
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from processes import ROOT, error_line, in_this_process
from user_folder import read_blocks

import vjax
from vjax.errors import InputError
from vjax.export import folder
from vjax.export.folder import export
from vjax.export.model_card import model_card
from vjax.json_files import write_json

has_onnx = all(map(importlib.util.find_spec, ("jax2onnx", "onnxruntime")))
needs_onnx = pytest.mark.skipif(not has_onnx, reason="the extra 'onnx' is not installed")
# What run.py says that it needs, by the format of the model.
NEEDED = {"stablehlo": ("numpy", "av", "jax", "flatbuffers"), "onnx": ("numpy", "av", "onnxruntime")}


def make_environment(folder, names):
    """Links distributions and all that they require into a folder, as if pip had installed them there alone."""
    folder.mkdir()
    waiting, found = list(names), set()
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found.add(name)
        distribution = importlib.metadata.distribution(name)
        for part in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            (folder / part).symlink_to(distribution.locate_file(part))
        required = map(Requirement, distribution.requires or ())
        waiting += [r.name for r in required if r.marker is None or r.marker.evaluate({"extra": ""})]
    return folder


def on_one_device():
    """The environment of a process without the simulated devices of the tests."""
    return {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}


def run_program(out, *videos, kind):
    """Runs run.py where nothing is installed but what it needs."""
    packages = out.with_name("packages")
    if not packages.exists():
        make_environment(packages, NEEDED[kind])
    environment = on_one_device() | {"PYTHONPATH": str(packages)}
    run = functools.partial(subprocess.run, capture_output=True, text=True, timeout=300, env=environment, cwd=out)
    python = [sys.executable, "-S"]  # without the packages of this Python
    for name in {"vjax", "flax", "cv2"} | ({"jax", "jaxlib"} if kind == "onnx" else set()):
        asked = run([*python, "-c", f"import {name}"])
        assert "ModuleNotFoundError" in asked.stderr, name
    done = run([*python, str(out / "run.py"), *map(str, videos)])
    assert done.returncode == 0, done.stderr
    return [re.fullmatch(r"(.*\.mp4) (\w+) ([\d.]+), .*", line).groups() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("kind", ["stablehlo", pytest.param("onnx", marks=needs_onnx)])
@pytest.mark.parametrize("half", [False, True])
def test_an_exported_network_answers_as_the_run_does(run_of_levels, tmp_path, kind, half):
    base, out = run_of_levels, tmp_path / "out"
    words = ["--out", out, "--format", kind, *(["--half"] if half else [])]
    done = in_this_process("vjax", "export", base / "run", *words)
    assert done.returncode == 0, done.stderr
    assert re.match(rf"model.{kind}: probabilities differ by \d", done.stdout)
    names = {f"model.{kind}", "labels.json", "preprocessing.json", "model_card.md", "run.py", "clips.py"}
    assert {path.name for path in out.iterdir()} == names
    videos = sorted((base / "videos").rglob("*.mp4"))[:3]
    expected = vjax.load(base / "run").predict(videos)
    for (path, name, probability), prediction in zip(run_program(out, *videos, kind=kind), expected, strict=True):
        assert path == prediction.name
        assert name == prediction.ranked()[0][0]
        assert float(probability) == pytest.approx(prediction.probs.max(), abs=2e-2 if half else 1e-3)


def test_the_examples_of_the_page_run(run_of_levels, tmp_path, monkeypatch):
    export(vjax.load(run_of_levels / "run"), tmp_path / "exported", formats=["stablehlo"])
    shutil.copytree(run_of_levels / "run", tmp_path / "runs/mine")
    monkeypatch.chdir(tmp_path)
    blocks = [block for block in read_blocks(ROOT / "docs/export.md", "text") if "deserialize" in block]
    assert len(blocks) == 2
    for block in blocks:
        names = {}
        exec(block, names)
        assert names["probs"].shape == (3, 2)


@pytest.mark.parametrize("kind", ["stablehlo", pytest.param("onnx", marks=needs_onnx)])
def test_half_is_smaller(run_of_levels, tmp_path, kind):
    trained = vjax.load(run_of_levels / "run")
    for half in (False, True):
        export(trained, tmp_path / str(half), formats=[kind], half=half)
    whole, halved = ((tmp_path / str(half) / f"model.{kind}").stat().st_size for half in (False, True))
    assert halved < whole


def test_the_program_is_short_and_imports_what_it_says():
    program = Path(folder.__file__).parent / "program"
    for name, most in (("run.py", 60), ("clips.py", 70)):
        text = (program / name).read_text()
        assert len(text.splitlines()) < most
        assert "vjax" not in text


def test_the_card_says_what_it_is_how_good_and_what_it_cannot(run_of_levels, tmp_path):
    export(vjax.load(run_of_levels / "run"), tmp_path, formats=["stablehlo"])
    card = (tmp_path / "model_card.md").read_text()
    assert re.findall(r"^## (.*)$", card, flags=re.MULTILINE) == [
        "Files",
        "Input and output",
        "Training data",
        "How good it is",
        "Limits",
    ]
    assert "95 % interval" in card
    assert "fall, rise" in card
    assert str(run_of_levels) not in card, "no path of this machine"
    preprocessing = json.loads((tmp_path / "preprocessing.json").read_text())
    assert preprocessing["temperature"] > 0
    assert json.loads((tmp_path / "labels.json").read_text()) == ["fall", "rise"]


def test_a_folder_that_holds_something_is_not_written_to(run_of_levels, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    done = in_this_process("vjax", "export", run_of_levels / "run", "--out", tmp_path)
    assert f"{tmp_path} exists; give a folder that does not, or an empty one" in error_line(done)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_nothing_is_written_if_one_model_answers_otherwise(run_of_levels, tmp_path, monkeypatch):
    def wrong(model):
        return lambda clips: np.full((len(clips), 2), 0.9)

    monkeypatch.setattr(folder, "check_extra", lambda: None)
    monkeypatch.setattr(folder, "TO_BYTES", {**folder.TO_BYTES, "onnx": lambda probs, shape: b""})
    monkeypatch.setattr(folder, "LOADERS", {**folder.LOADERS, "onnx": wrong})
    with pytest.raises(InputError, match="the onnx model differs from the run's network by"):
        export(vjax.load(run_of_levels / "run"), tmp_path / "out", formats=["stablehlo", "onnx"])
    assert not list((tmp_path / "out").iterdir())


def test_a_card_needs_no_counts_shows_no_paths_and_holds_names_as_text(run_of_levels, tmp_path):
    workdir = shutil.copytree(run_of_levels / "run", tmp_path / "run")
    (workdir / "data.json").unlink()
    trained = vjax.load(workdir)
    kept = dataclasses.replace(trained.config, keep_split="/home/ann/runs/old")
    names = ("fall <script>", "rise\n| *up*")
    card = model_card(dataclasses.replace(trained, config=kept, class_names=names), files={})
    assert r"fall \<script\>, rise \| \*up\*." in card
    assert "videos to train on" not in card
    write_json(workdir / "data.json", {"split": "that of /home/ann/runs/old", "train": 3, "val": 0, "test": 2})
    card = model_card(dataclasses.replace(trained, config=kept), files={})
    assert "3 videos to train on, 0 to choose by, 2 to test on; split that of old." in card


def test_a_work_directory_without_a_run_is_refused(tmp_path):
    done = in_this_process("vjax", "export", tmp_path, "--out", tmp_path / "out")
    assert "holds no run" in error_line(done)


@needs_onnx
def test_the_readme_goes_from_a_run_to_an_onnx_file_and_its_answer(run_of_levels, tmp_path, monkeypatch):
    (block,) = [block for block in read_blocks(ROOT / "README.md", "text") if "--format onnx" in block]
    install, *lines = block.splitlines()
    assert install == "pip install '.[onnx]'"
    assert len(lines) == 2
    shutil.copytree(run_of_levels / "run", tmp_path / "runs/mine")
    shutil.copy(run_of_levels / "long.mp4", tmp_path / "new.mp4")
    monkeypatch.chdir(tmp_path)
    write, answer = map(shlex.split, lines)
    # As a user does: a process, on one device.
    subprocess.run([sys.executable, "-m", *write], check=True, env=on_one_device())
    done = subprocess.run([sys.executable, *answer[1:]], capture_output=True, text=True, timeout=300)
    assert re.match(r"new.mp4 (fall|rise) [01]\.\d", done.stdout), done.stderr
