"""The page of a comparison or a cross-validation."""

import json

import pytest
from processes import error_line, in_this_process

from vjax.report.comparison_report import report_comparison


def write_crossval(workdir, *networks):
    found = {
        "protocol": "2 folds",
        "class_names": ["run", "walk"],
        "chance": 0.5,
        "num_videos": 8,
        "num_groups": 0,
        "bad_videos": [],
        "networks": [
            {
                "network": name,
                "video@1": accuracy,
                "video@1_interval": [accuracy - 0.2, accuracy + 0.1],
                "mean_class": accuracy,
                "confusion": [[3, 1], [0, 4]],
                "folds": [{"workdir": f"{name}/repeat_1/fold_{fold}", "video@1": accuracy} for fold in (1, 2)],
            }
            for name, accuracy in networks
        ],
    }
    workdir.mkdir(exist_ok=True)
    (workdir / "crossval.json").write_text(json.dumps(found))


def write_compare(workdir, *networks):
    drop = {"video@1": 0.5, "drop": 0.2, "drop_interval": [0.1, 0.3]}
    of_class = {"num_videos": 4, "normal": 0.7, "needs": "order"}
    probes = dict.fromkeys(("shuffled", "reversed", "frozen", "thinned"), drop)
    motion = {
        "probes": probes,
        "classes": {"run": of_class | dict.fromkeys(probes, 0.5)},
        "verdict": ["This network needs the order of the frames."],
    }
    row = {
        "mean_class": 0.7,
        "parameters": 10,
        "multiply_adds": 20,
        "ms_per_clip": 1.5,
        "motion": motion,
    }
    found = {
        "verdict": ["late_pool is enough."],
        "networks": [{"network": name, "video@1": accuracy} | row for name, accuracy in networks],
    }
    (workdir / "compare.json").write_text(json.dumps(found))


def test_a_cross_validation_shows_its_folds_and_links_those_with_a_page(tmp_path):
    write_crossval(tmp_path, ("slow_fusion", 0.7))
    (tmp_path / "slow_fusion/repeat_1/fold_2").mkdir(parents=True)
    (tmp_path / "slow_fusion/repeat_1/fold_2/report.html").touch()
    text = report_comparison(tmp_path, page=tmp_path / "report.html")
    assert "slow_fusion is right about 70.0% of 8 videos, each tested by a run that has not seen it" in text
    assert 'href="slow_fusion/repeat_1/fold_2/report.html"' in text
    assert "fold_1/report.html" not in text
    assert "0.700 (0.500 to 0.800)" in text


def test_a_comparison_shows_the_ladder_the_verdict_and_the_motion_of_the_best_network(tmp_path):
    networks = (("late_pool", 0.6), ("slow_fusion", 0.8))
    write_crossval(tmp_path, *networks)
    write_compare(tmp_path, *networks)
    text = report_comparison(tmp_path, page=tmp_path / "report.html")
    assert "2 networks on 8 videos: slow_fusion is right about 80.0%" in text
    assert "late_pool is enough." in text
    assert "Does it need motion? (slow_fusion)" in text
    assert text.index('id="verdict"') < text.index('id="networks"') < text.index('id="motion"')
    assert text.index(">late_pool</a>") < text.index(">slow_fusion</a>")


def test_links_go_from_the_page_and_odd_names_are_quoted(tmp_path):
    workdir = tmp_path / "50% #1"
    write_crossval(workdir, ("slow_fusion", 0.7))
    (workdir / "slow_fusion/repeat_1/fold_2").mkdir(parents=True)
    (workdir / "slow_fusion/repeat_1/fold_2/report.html").touch()
    text = report_comparison(workdir, page=tmp_path / "pages/x.html")
    assert 'href="../50%25%20%231/slow_fusion/repeat_1/fold_2/report.html"' in text


def test_a_comparison_that_was_stopped_before_its_verdict_has_none(tmp_path):
    write_crossval(tmp_path, ("late_pool", 0.6), ("slow_fusion", 0.8))
    write_compare(tmp_path, ("late_pool", 0.6))
    text = report_comparison(tmp_path, page=tmp_path / "report.html")
    assert 'id="verdict"' not in text
    assert 'id="network-1"' in text


def test_a_comparison_that_is_not_finished_is_refused(tmp_path):
    (tmp_path / "slow_fusion/repeat_1/fold_1").mkdir(parents=True)
    assert "holds no finished comparison" in error_line(in_this_process("vjax", "report", tmp_path))


def test_the_command_writes_the_page_into_the_work_directory(tmp_path):
    write_crossval(tmp_path, ("slow_fusion", 0.7))
    done = in_this_process("vjax", "report", tmp_path)
    assert done.stdout.strip() == str(tmp_path / "report.html")
    assert "takes neither --probes" in error_line(in_this_process("vjax", "report", tmp_path, "--probes"))


def test_a_folder_without_a_comparison_is_refused(tmp_path):
    with pytest.raises(Exception, match="holds no finished comparison"):
        report_comparison(tmp_path, page=tmp_path / "report.html")
