"""The probes of a finished run."""

import io
import shutil

import numpy as np
import pytest
from video_files import write_folder

import vjax
from vjax.evaluation.predictions import read_predictions
from vjax.evaluation.probes import PROBES
from vjax.probed import probe_run, read_probes
from vjax.training.loop import Interrupted


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    base = tmp_path_factory.mktemp("probed")
    root = write_folder(base / "videos")
    vjax.train(vjax.load_config("folder:tiny", [f"--config.source.root={root}"]), base / "run", console=io.StringIO())
    return base / "run"


def test_probes_are_evaluated_once_and_kept(workdir, tmp_path):
    run = shutil.copytree(workdir, tmp_path / "run")
    tested = read_predictions(run)
    assert read_probes(run, tested) is None
    found = probe_run(run, tested, io.StringIO())
    assert found.keys() == PROBES.keys()
    shutil.rmtree(run / "checkpoints")
    again = probe_run(run, tested, io.StringIO())
    for name, right in found.items():
        np.testing.assert_array_equal(again[name], right)


def test_probes_of_other_predictions_are_not_taken(workdir, tmp_path):
    run = shutil.copytree(workdir, tmp_path / "run")
    tested = read_predictions(run)
    probe_run(run, tested, io.StringIO())
    assert read_probes(run, tested._replace(probs=tested.probs / 2)) is None


def test_probes_of_a_network_that_gives_nan_are_kept_too(workdir, tmp_path):
    run = shutil.copytree(workdir, tmp_path / "run")
    tested = read_predictions(run)
    tested = tested._replace(probs=np.full_like(tested.probs, np.nan))
    probe_run(run, tested, io.StringIO())
    assert read_probes(run, tested) is not None


def test_a_stop_comes_before_the_probes(workdir):
    with pytest.raises(Interrupted):
        probe_run(workdir, read_predictions(workdir), io.StringIO(), should_stop=lambda: True)
