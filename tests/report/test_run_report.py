"""The page of a run."""

import dataclasses
import html
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from processes import error_line, in_this_process

import vjax
from vjax.config_file import PREFIX, load_config
from vjax.data.video import FileReader
from vjax.evaluation.predictions import TestPredictions
from vjax.evaluation.sections import classes_section, confusion_section
from vjax.html.page import render
from vjax.report.run_report import report_run

SECTIONS = ["data", "curves", "confusion", "classes", "trust", "mistakes", "hits", "filters"]


@pytest.fixture(scope="module")
def page(finished):
    """The page of the run, as the command writes it after the probes."""
    workdir, _ = finished
    done = in_this_process("vjax", "report", workdir, "--probes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(workdir / "report.html")
    assert "examples" in done.stderr
    return (workdir / "report.html").read_text()


def section(page, name):
    return re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL).group()


def test_every_section_has_content(page):
    found = re.findall(r'<section id="(\w+)"', page)
    assert found == [*SECTIONS[:4], "motion", *SECTIONS[4:]]
    for name in found:
        assert re.search('<table|<svg|<video|<img|class="bar"|There is none', section(page, name)), name


def test_the_page_says_what_the_run_found(page, finished):
    result = json.loads((finished[0] / "result.json").read_text())
    assert f"is right about {result['video@1']:.1%} of {result['num_videos']} test videos" in page
    assert result["protocol"] in page
    for name, version in result["versions"].items():
        assert f"{name}</th><td>{version}<" in section(page, "data")


def test_the_videos_are_counted_by_class_and_split(page):
    assert re.search(r"bright</th><td>\d+</td><td>[1-9]</td><td>\d+</td>", section(page, "data"))


def test_the_command_of_the_page_makes_the_same_config(page, finished):
    (command,) = re.findall(r"<code>(.*?)</code>", section(page, "data"))
    _, _, _, name, *words = shlex.split(html.unescape(command))
    words = [word for word in words if word.startswith(PREFIX)]
    assert words, "the tiny config differs from each one that comes with vjax"
    assert load_config(name, words) == vjax.load(finished[0]).config


def test_examples_show_the_clip_and_where_and_when_the_network_looked(page):
    shown = section(page, "mistakes") + section(page, "hits")
    clips = shown.count("what the network saw</figcaption>")
    assert clips >= 2
    assert shown.count("<video") == 2 * clips
    assert shown.count("probability of each test clip over time</figcaption>") == clips
    assert shown.count("share of each frame of the clip</figcaption>") == clips


def test_the_calibration_and_its_thresholds_are_there(page):
    shown = section(page, "trust")
    assert "Temperature, fitted on the validation videos" in shown
    assert "none of these below" in shown


def test_the_first_layer_is_shown(page):
    shown = section(page, "filters")
    assert re.search(r"filters of backbone/Conv_0, 3 x 3 x 3", shown)
    assert "x-t slice of a clip" in shown
    assert "the same slice of map" in shown


def test_a_page_is_small(page):
    assert len(page) < 15e6


def test_videos_that_have_moved_are_said_and_can_be_given(finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    moved = shutil.copytree(finished[1], tmp_path / "moved")
    config = json.loads((workdir / "config.json").read_text())
    config["source"]["root"] = str(tmp_path / "nowhere")
    (workdir / "config.json").write_text(json.dumps(config))
    done = in_this_process("vjax", "report", workdir, "--out", tmp_path / "a.html")
    assert done.returncode == 0
    assert "the page has no videos" in done.stderr
    assert "The videos cannot be shown" in (tmp_path / "a.html").read_text()
    words = ["--out", tmp_path / "b.html", "--probes", f"--source.root={moved}"]
    done = in_this_process("vjax", "report", workdir, *words)
    assert "what the network saw" in (tmp_path / "b.html").read_text(), done.stderr


def test_other_videos_are_not_taken_for_those_of_the_run(finished):
    trained = vjax.load(finished[0])
    source = trained.open_source()
    for test in (source.test[::-1], source.test[:2]):
        with pytest.raises(vjax.InputError, match="the test videos are not those that the run was tested on"):
            report_run(trained, dataclasses.replace(source, test=test))


def test_videos_that_vanish_leave_the_rest_of_the_page(finished):
    trained = vjax.load(finished[0])
    source = trained.open_source()
    gone = [dataclasses.replace(video, read=FileReader(Path("gone.mp4"))) for video in source.test]
    text = report_run(trained, dataclasses.replace(source, test=gone))
    assert "cannot be read: gone.mp4: no such file" in text
    assert "filters of backbone/Conv_0" in text


def test_classes_without_test_videos_are_counted_and_the_matrix_of_a_thousand_stays_small():
    names = [f"class {'<' * 100} {number}" for number in range(1000)]
    label = np.arange(500)
    predictions = TestPredictions([], [""] * 500, label, np.eye(1000)[np.arange(500) // 2])
    found = classes_section(predictions.label, predictions.right, predictions.groups, names)
    assert found.text == "These are the 200 least accurate of 500 classes. Classes without test videos: 500."
    confusion = np.random.default_rng(0).integers(0, 3, (1000, 1000))
    page = render(title="a", lead="b", sections=[found, confusion_section(confusion, names)])
    assert len(page) < 5e6


def test_a_run_without_probes_has_no_section_on_motion(finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run", ignore=shutil.ignore_patterns("probes.npz"))
    trained = vjax.load(workdir)
    text = report_run(trained, trained.open_source())
    assert re.findall(r'<section id="(\w+)"', text) == SECTIONS


def test_a_run_that_is_not_finished_is_refused(finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run", ignore=shutil.ignore_patterns("result.json"))
    assert "the run is not finished; run the training command again" in error_line(
        in_this_process("vjax", "report", workdir)
    )


def test_places_without_a_run_and_places_that_cannot_be_written_are_refused(finished, tmp_path):
    assert "there is no such folder" in error_line(in_this_process("vjax", "report", tmp_path / "nowhere"))
    assert "holds no run" in error_line(in_this_process("vjax", "report", tmp_path))
    done = in_this_process("vjax", "report", finished[0], "--out", tmp_path)
    assert "cannot be written" in error_line(done)
