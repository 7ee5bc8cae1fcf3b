"""`vjax benchmark`: the forms of a network, side by side."""

import dataclasses
import importlib.util
import json
import re
import time

import jax
import numpy as np
import pytest
from processes import error_line, in_this_process
from random_variables import random_variables

import vjax
from vjax.errors import InputError
from vjax.export import speed
from vjax.export.folder import export
from vjax.export.in_pytorch import LIBRARY, torch_inference
from vjax.export.inference import make_inference
from vjax.models import NETWORKS
from vjax.models.card import card_of
from vjax.ops.sampling import ClipTiming
from vjax.spec import Choice

has_onnx = all(map(importlib.util.find_spec, ("jax2onnx", "onnxruntime")))


def test_the_slower_form_has_more_milliseconds_and_fewer_clips():
    def form(seconds, value):
        def run(clips):
            time.sleep(seconds)
            return np.full((len(clips), 2), value)

        return run

    forms = {"fast": form(0.01, 0.5), "slow": form(0.05, 0.75)}
    found = speed.measure(forms, (1, 2, 2, 3), batch=2, rounds=2)
    assert found["fast"].ms < found["slow"].ms
    assert found["slow"].least_ms >= 25  # of one of two clips
    assert found["slow"].clips_per_s == pytest.approx(1e3 / found["slow"].ms)
    assert (found["fast"].difference, found["slow"].difference) == (0, 0.25)


def test_the_forms_of_a_run_give_the_same_probabilities(run_of_levels):
    trained = vjax.load(run_of_levels / "run")
    forms, missing = speed.forms_of_run(trained)
    assert list(forms) == ["vjax", "stablehlo", *(["onnx"] if has_onnx else [])]
    assert missing[-1].startswith("pytorch: neither torchvision nor PyTorchVideo has this network")
    clips = np.random.default_rng(0).integers(0, 256, (8, *trained.test_view.shape[1:])).astype(np.uint8)
    for form in forms.values():
        np.testing.assert_allclose(form(clips), trained.infer_clips(clips).probs, atol=1e-5)


def test_the_command_prints_a_row_for_each_form_and_writes_json(run_of_levels, tmp_path):
    words = ["--rounds", "1", "--batch", "8", "--json", tmp_path / "speed.json"]
    done = in_this_process("vjax", "benchmark", run_of_levels / "run", *words)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| vjax +\| +[\d.]+ \| +[\d.]+ \| +[\d.]+ \| +1\.00 \| +0e\+00 \|", done.stdout)
    assert "8 x 8 x 16 x 16 x 3; medians of 1 turns; processor " in done.stdout
    assert "pytorch: neither torchvision" in done.stdout
    written = json.loads((tmp_path / "speed.json").read_text())
    assert written["forms"]["stablehlo"]["ms"] > 0
    assert written["batch"] == 8
    assert "cores of" in written["processor"]


def test_the_models_of_an_exported_folder_are_measured(run_of_levels, tmp_path):
    export(vjax.load(run_of_levels / "run"), tmp_path / "out", formats=["stablehlo"])
    done = in_this_process("vjax", "benchmark", tmp_path / "out", "--rounds", "1", "--batch", "3")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\| stablehlo +\| +[\d.]+ \|", done.stdout, re.MULTILINE)
    assert "of stablehlo's time" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch", "0"], "--batch and --rounds must be 1 or more, got 0 and 5"),
        (["--rounds", "0"], "got 8 and 0"),
        (["--batch", "3"], "--batch 3 cannot be split over the 8 devices of this machine"),
    ],
)
def test_what_cannot_be_measured_is_explained(run_of_levels, words, message):
    assert message in error_line(in_this_process("vjax", "benchmark", run_of_levels / "run", *words))


def test_a_folder_without_a_run_or_a_model_is_refused(tmp_path):
    done = in_this_process("vjax", "benchmark", tmp_path)
    assert "is neither the work directory of a run nor a folder that vjax export has written" in error_line(done)


@pytest.mark.parametrize("file", ["model.stablehlo", "preprocessing.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"{}"])
def test_a_damaged_exported_folder_is_one_line(run_of_levels, tmp_path, file, content):
    export(vjax.load(run_of_levels / "run"), tmp_path / "out", formats=["stablehlo"])
    (tmp_path / "out" / file).write_bytes(content)
    assert str(tmp_path / "out" / file) in error_line(in_this_process("vjax", "benchmark", tmp_path / "out"))


def test_a_run_that_sees_differences_has_no_form_in_pytorch(run_of_levels):
    trained = vjax.load(run_of_levels / "run")
    config = dataclasses.replace(trained.config, network=Choice("r3d_18"))
    config = dataclasses.replace(config, clip=dataclasses.replace(config.clip, input="difference"))
    with pytest.raises(InputError, match=r"PyTorch's form takes frames, and this run has config\.clip\.input='diff"):
        torch_inference(dataclasses.replace(trained, config=config))


def test_every_network_that_pytorch_has_has_its_names_on_its_card():
    for name in LIBRARY:
        card = card_of(NETWORKS[name])
        assert card is not None
        assert card.torch_names is not None


def with_network(trained, name, clips):
    """Returns a trained network in the place of which another one stands, with random numbers."""
    config = dataclasses.replace(trained.config, network=Choice(name))
    network = config.create_network(len(trained.class_names))
    _, *clip_shape = clips.shape
    variables = random_variables(network, clip_shape)
    # Otherwise one class would have it all.
    logits = jax.jit(network.apply, static_argnames="train")(variables, config.clip_input(clips), train=False)
    variables["params"]["head"]["logits"]["kernel"] /= np.abs(logits).max()
    return dataclasses.replace(
        trained,
        config=config,
        network=network,
        test_view=dataclasses.replace(
            trained.test_view, timing=ClipTiming(clip_shape[0], stride=1), size=clip_shape[1:3]
        ),
        state=dataclasses.replace(trained.state, params=variables["params"], batch_stats=variables["batch_stats"]),
    )


@pytest.mark.torch
@pytest.mark.parametrize("name", ["r3d_18", "s3d", "x3d_s", "slowfast_r50"])
def test_pytorchs_form_of_a_run_gives_its_probabilities(run_of_levels, name):
    pytest.importorskip("torch")
    side = 224 if name == "s3d" else 64
    shape = (1, 32 if name == "slowfast_r50" else 16, side, side, 3)
    clips = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    trained = with_network(vjax.load(run_of_levels / "run"), name, clips)
    expected = make_inference(trained.network, trained.state.variables, trained.config.clip_input, half=False)(clips)
    assert 0.001 < expected[0, 0] < 0.999
    np.testing.assert_allclose(torch_inference(trained)(clips), expected, atol=1e-4)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x3d_s", "PyTorchVideo's networks take square clips, not 64 x 80"),
        ("slowfast_r50", "PyTorchVideo's networks take square clips, not 64 x 80"),
        ("s3d", "torchvision's S3D takes clips of 9 frames or more of 224 x 224, not 16 of 64 x 80"),
    ],
)
def test_clips_that_pytorchs_libraries_do_not_take_are_named(name, message):
    pytest.importorskip("torch")
    with pytest.raises(InputError, match=message):
        LIBRARY[name](2, (16, 64, 80, 3))


@pytest.mark.torch
def test_options_that_pytorchs_form_does_not_have_are_named(run_of_levels):
    pytest.importorskip("torch")
    trained = vjax.load(run_of_levels / "run")
    config = dataclasses.replace(trained.config, network=Choice("r2plus1d_18", mid="paper"))
    network, shape = config.create_network(2), (8, 32, 32, 3)
    variables = random_variables(network, shape)
    state = dataclasses.replace(trained.state, params=variables["params"], batch_stats=variables["batch_stats"])
    with pytest.raises(InputError, match="PyTorch's form of r2plus1d_18 has other layers than this network"):
        torch_inference(dataclasses.replace(trained, config=config, network=network, state=state))


def test_a_missing_extra_is_named(run_of_levels, monkeypatch):
    trained = vjax.load(run_of_levels / "run")

    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(vjax.Trained, "network_name", "r3d_18")
    config = vjax.load_config("folder", ["--config.source.root=x", "--config.network.name=r3d_18"])
    trained = dataclasses.replace(trained, config=config)
    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(InputError, match=r"PyTorch's networks need the extra torch: pip install 'vjax\[torch\]'"):
        torch_inference(trained)
