import csv
import dataclasses
import io
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from processes import in_this_process
from video_files import write_folder

import vjax
from vjax.config import Config, check_config
from vjax.evaluation.result import describe_result
from vjax.experiment import open_config_source
from vjax.typed import as_plain

CONFIG = str(pathlib.Path(__file__).parents[1] / "configs/folder.py:tiny")


def folder_config(root, **changes):
    """The config of a folder as plain data, with sections that are replaced."""
    return as_plain(vjax.load_config(CONFIG, [f"--config.source.root={root}"])) | changes


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished tiny run on a folder of which one video is broken: (videos, workdir, result)."""
    base = tmp_path_factory.mktemp("finished")
    root = write_folder(base / "videos")
    (root / "rise" / "zoe.mp4").write_bytes(b"no video")
    config = folder_config(root)
    config |= {"max_bad_share": 0.2, "val_share": 0.2}
    return root, base / "run", vjax.train(config, base / "run", console=io.StringIO())


def test_a_run_leaves_all_that_is_needed_to_use_it(finished):
    _, workdir, result = finished
    names = {path.name for path in workdir.iterdir()}
    assert names == {
        ".lock", "bad_videos.csv", "calibration.json", "checkpoints", "classes.json", "config.json", "confusion.png",
        "curves.png", "data.json", "events", "first_batch.gif", "inference.stablehlo", "metrics.jsonl",
        "predictions.npz", "preprocessing.json", "result.json", "split.csv",
    }  # fmt: skip
    assert json.loads((workdir / "classes.json").read_text()) == ["fall", "rise"]
    assert json.loads((workdir / "preprocessing.json").read_text())["size"] == [16, 16]
    assert json.loads((workdir / "result.json").read_text()) == result
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train/loss" in line] == [1, 2, 3, 4]
    assert [line["step"] for line in lines if "val/video@1" in line] == [2, 4]
    assert [line["step"] for line in lines if "test/video@1" in line] == [4]


def test_a_result_says_what_it_was_measured_on(finished):
    _, _, result = finished
    assert {"clip@1", "video@1", "video@1_interval", "chance", "loss", "notes"} <= result.keys()
    assert result["num_videos"] == 2
    assert "2 clips x 1 crop of 8 frames at 5 fps, 16 x 16" in result["protocol"]
    assert "mean of softmax" in result["protocol"]
    assert "2 of 2 videos" in result["protocol"]


def test_a_broken_video_is_left_out_counted_and_listed(finished):
    _, workdir, result = finished
    with (workdir / "bad_videos.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert row["name"] == "rise/zoe.mp4"
    assert "InvalidDataError" in row["reason"]
    assert result["bad_videos"] + result["bad_train_videos"] + result["bad_val_videos"] == 1


def test_choices_use_the_validation_split_and_the_result_the_test_split(finished):
    _, workdir, result = finished
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    validated = {line["step"]: line["val/video@1"] for line in lines if "val/video@1" in line}
    best = vjax.load(workdir, checkpoint="best")
    assert validated[int(best.state.step)] == max(validated.values())
    (tested,) = (line for line in lines if "test/video@1" in line)
    assert tested["test/loss"] == result["loss"]
    source = best.open_source()
    assert len(source.val) > 0
    assert {video.name for video in source.val}.isdisjoint({video.name for video in (*source.train, *source.test)})
    validated = f"; 1 validation videos of 1 of the 2 classes; split code {source.split_code}; newest checkpoint"
    assert validated in result["protocol"]
    assert "validation split random, 20% of each class" in result["protocol"]


def test_without_a_validation_split_no_checkpoint_is_the_best(finished, tmp_path):
    root, _, _ = finished
    config = folder_config(root, max_bad_share=0.2, val_share=0.0)
    result = vjax.train(config, tmp_path / "run", console=io.StringIO())
    assert "; no validation split; split code " in result["protocol"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "test/video@1" in line] == [2, 4]
    with pytest.raises(vjax.InputError, match=r"no checkpoint was evaluated on a validation split, .*config.val_share"):
        vjax.load(tmp_path / "run", checkpoint="best")
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {"2", "4"}


def test_a_new_run_keeps_the_split_of_another_when_videos_are_added(finished, tmp_path):
    root, workdir, _ = finished
    more = tmp_path / "videos"
    shutil.copytree(root, more)
    for number in range(6):
        shutil.copy(root / "fall" / "ann.mp4", more / "fall" / f"new{number}.mp4")
    before = open_config_source(check_config(folder_config(root, max_bad_share=0.2, val_share=0.2)))
    config = folder_config(more, max_bad_share=0.2, val_share=0.2, keep_split=str(workdir))
    after = open_config_source(check_config(config))
    for split in ("train", "val", "test"):
        names = {video.name for video in getattr(after, split)}
        assert {name for name in names if "new" not in name} == {video.name for video in getattr(before, split)}
    assert after.split == f"as in {workdir}, 7 new videos by a hash of their groups"  # the broken one is new as well
    assert after.split_code != before.split_code


def test_a_run_needs_the_other_run_no_more_once_it_has_kept_its_split(finished, tmp_path):
    root, workdir, _ = finished
    shutil.copytree(workdir, tmp_path / "other")
    config = folder_config(root, max_bad_share=0.2, val_share=0.2, keep_split=str(tmp_path / "other"))
    result = vjax.train(config, tmp_path / "run", console=io.StringIO())
    shutil.rmtree(tmp_path / "other")
    source = vjax.load(tmp_path / "run").open_source()
    assert f"; test split {source.split}; " in result["protocol"]
    longer = vjax.train(config | {"length": 6}, tmp_path / "run", console=io.StringIO())
    assert f"split code {source.split_code}" in longer["protocol"]


def test_evaluation_leaves_out_new_videos_and_names_them(finished, tmp_path):
    root, workdir, result = finished
    more = tmp_path / "videos"
    shutil.copytree(root, more)
    shutil.copy(root / "fall" / "ann.mp4", more / "fall" / "new.mp4")
    trained = vjax.load(workdir)
    source = trained.open_source(vjax.Choice("videos", root=str(more)))
    assert source.new_videos == ("fall/new.mp4",)
    words, _, place = source.split.partition(", read from ")
    assert f"; test split {words}; " in result["protocol"]
    assert place == f"videos with root={more}"
    assert f"; split code {source.split_code}; " in result["protocol"]
    assert trained.evaluate(source).metrics["loss"] == pytest.approx(result["loss"])


@pytest.fixture
def eager_progress(monkeypatch):
    """Shows the progress of indexing even where it takes less than a second."""
    monkeypatch.setattr("vjax.data.files._QUIET_S", 0.0)


@pytest.mark.usefixtures("eager_progress")
def test_training_evaluating_and_the_doctor_show_the_progress_of_indexing(finished, tmp_path):
    root, workdir, _ = finished
    console = io.StringIO()
    with pytest.raises(vjax.InputError, match="max_bad_share"):
        vjax.train(folder_config(root, max_bad_share=0.0), tmp_path / "run", console=console)
    assert console.getvalue().splitlines()[-1] == "indexing: 9 of 9 videos"
    for words in (("evaluate", workdir), ("doctor", root)):
        assert "indexing: 9 of 9 videos\n" in in_this_process("vjax", *words).stderr


@pytest.mark.usefixtures("eager_progress")
def test_building_an_experiment_is_silent(finished, capfd):
    vjax.build(folder_config(finished[0], max_bad_share=0.2))
    assert "indexing" not in "".join(capfd.readouterr())


def test_only_the_first_process_reports_the_progress_of_indexing(finished, monkeypatch):
    config, reported = folder_config(finished[0], max_bad_share=0.2), []
    vjax.build(config, advance=lambda *progress: reported.append(progress))
    assert reported[-1] == (9, 9)
    monkeypatch.setattr("jax.process_index", lambda: 1)
    reported.clear()
    vjax.build(config, advance=lambda *progress: reported.append(progress))
    assert reported == []


def test_a_finished_run_is_left_alone(finished):
    _, workdir, result = finished
    config = json.loads((workdir / "config.json").read_text())
    before = (workdir / "metrics.jsonl").read_bytes()
    assert vjax.train(config, workdir) == result
    assert (workdir / "metrics.jsonl").read_bytes() == before


def test_a_loaded_run_measures_what_its_training_measured(finished):
    _, workdir, result = finished
    trained = vjax.load(workdir)
    found = trained.evaluate()
    assert found.metrics == {name: result[name] for name in found.metrics}


def test_a_prediction_for_a_file_equals_the_row_of_the_evaluation(finished):
    root, workdir, _ = finished
    trained = vjax.load(workdir)
    source = open_config_source(trained.config)
    view = trained.config.test_view
    rows = trained.evaluate(source, view).probs
    for video, row in zip(source.test, rows, strict=True):  # each by itself, not in the evaluation's batch
        (found,) = trained.predict([root / video.name])
        np.testing.assert_array_equal(found.probs, trained.calibration(row))


def test_a_run_is_calibrated_on_its_validation_split(finished):
    _, workdir, result = finished
    calibration = vjax.load(workdir).calibration
    assert calibration.step == 4
    assert len(calibration.right) == 1
    assert result["temperature"] == calibration.temperature
    assert {"calibration_error", "calibrated_error"} <= result.keys()
    assert 0 < calibration.sure[0] <= 1


def test_a_checkpoint_that_was_not_calibrated_has_no_threshold(finished, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(finished[1], copy)
    (copy / "calibration.json").unlink()
    trained = vjax.load(copy)
    assert trained.calibration is None
    message = r"run: its threshold is not known, because .* split; use the newest checkpoint of a finished run with"
    with pytest.raises(vjax.InputError, match=message):
        trained.threshold(0.9)


def test_loading_a_run_reads_the_network_and_not_the_optimizers_state(finished):
    _, workdir, _ = finished
    trained = vjax.load(workdir)
    assert trained.state.opt_state is None
    assert int(trained.state.step) == 4
    saved = trained.network.init(jax.random.key(0), np.zeros((1, *trained.config.test_view.shape[1:])), train=False)
    assert jax.tree.structure(trained.state.params) == jax.tree.structure(saved["params"])


def test_the_test_split_can_be_seen_with_more_clips_and_crops(finished):
    _, workdir, _ = finished
    trained = vjax.load(workdir, checkpoint="best")
    source = open_config_source(trained.config)
    view = dataclasses.replace(trained.test_view, num_clips=3, num_crops=3)
    result = describe_result(trained.evaluate(source, view), source, view, checkpoint="best checkpoint")
    assert "3 clips x 3 crops" in result["protocol"]
    assert "best checkpoint" in result["protocol"]


def test_a_work_directory_of_another_config_is_refused_and_kept(finished):
    root, workdir, _ = finished
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    with pytest.raises(vjax.InputError, match=r"another config \(config.length is 4 there and 3 here; .*--workdir"):
        vjax.train(folder_config(root, length=3), workdir)
    assert {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()} == before


def test_a_config_that_failed_does_not_take_the_work_directory(tmp_path):
    root = write_folder(tmp_path / "videos")
    for wrong in (
        folder_config("/nowhere"),
        folder_config(root, network={"name": "slow"}),
        folder_config(root, network={"name": "slow_fusion", "dropout": 1.0}),
        folder_config(root, network={"name": "slow_fusion", "backbone": {"name": "small", "depth": 0}}),
        folder_config(root, mix={"mixup": -1.0}),
    ):
        with pytest.raises(vjax.InputError):
            vjax.train(wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_class_list_that_changed_is_refused(finished, tmp_path):
    root, workdir, _ = finished
    copy = tmp_path / "videos"
    shutil.copytree(root, copy)
    config = json.loads((workdir / "config.json").read_text())
    config["source"]["root"] = str(copy)
    vjax.train(config, tmp_path / "run", console=io.StringIO())
    (tmp_path / "run" / "result.json").unlink()
    (copy / "rise").rename(copy / "climb")
    with pytest.raises(vjax.InputError, match=r"class list .* missing \['rise'\], new \['climb'\]"):
        vjax.train(config, tmp_path / "run", console=io.StringIO())
    trained = vjax.load(tmp_path / "run")
    source = open_config_source(trained.config)
    with pytest.raises(vjax.InputError, match=r"class list .* missing \['rise'\], new \['climb'\]"):
        trained.evaluate(source, trained.config.test_view)


def test_a_class_count_that_does_not_fit_the_checkpoint_is_refused(finished, tmp_path):
    _, workdir, _ = finished
    copy = tmp_path / "run"
    shutil.copytree(workdir, copy)
    (copy / "classes.json").write_text('["a", "b", "c"]')
    with pytest.raises(vjax.InputError, match=r"does not fit the network: parameter head/logits/bias has shape \(2,\)"):
        vjax.load(copy)


def test_what_is_no_run_cannot_be_loaded(tmp_path):
    with pytest.raises(vjax.InputError, match=r"holds no run \(config.json is missing\)"):
        vjax.load(tmp_path)


def test_a_run_without_a_checkpoint_cannot_be_loaded(finished, tmp_path):
    _, workdir, _ = finished
    for name in ("config.json", "classes.json", "preprocessing.json"):
        shutil.copy(workdir / name, tmp_path / name)
    with pytest.raises(vjax.InputError, match="has no checkpoint yet"):
        vjax.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batchsize": 8}, "config does not know 'batchsize'; did you mean 'batch_size'"),
        ({"length": 0}, "config.length must be 1 step or more, got 0"),
        ({"log_every": "1 day"}, "config.log_every is a number of steps, or a text such as '900 steps'"),
        ({"batch_size": 12}, r"config.batch_size must be a multiple of the 8 device\(s\), got 12"),
        ({"test": {"num_clips": 0}}, "config.test.num_clips must be 1 or more, got 0"),
        ({"source": {"name": "video", "root": "x"}}, "config.source does not know 'video'; did you mean 'videos'"),
        ({"source": {"name": "videos", "root": "/nowhere"}}, "config.source.root: '/nowhere' does not exist"),
        (
            {"clip": {"num_frames": 8, "fps": 5.0, "size": "big"}},
            "config.clip.size is a whole number or 2 whole numbers",
        ),
        ({"clip": {"num_frames": 8, "size": 16}}, "exactly one of stride, fps and duration_s, got none"),
        ({"network": {"backbone": {"name": "small"}}}, "config.network needs a name; choose one of: c3d, early_fusion"),
        ({"network": {"name": "slow"}}, "network does not know 'slow'"),
        ({"augment": {"flipp": True}}, "config.augment does not know 'flipp'; did you mean 'flip'"),
        ({"mix": {"mixupp": 1.0}}, "config.mix does not know 'mixupp'; did you mean 'mixup'"),
        ({"mix": {"mixup": -1.0}}, "mix.mixup is the alpha of .* got -1.0"),
        ({"test": {"batch_size": 8, "crops": 1}}, "config.test does not know 'crops'; did you mean 'num_crops'"),
        ({"optimizer": {"name": "sgd"}}, "config.optimizer 'sgd' needs a value for: learning_rate"),
    ],
)
def test_a_config_that_does_not_work_is_explained(tmp_path, changes, message):
    root = write_folder(tmp_path / "videos")
    with pytest.raises(vjax.InputError, match=message):
        vjax.train(folder_config(root, **changes), tmp_path / "run")


def test_a_key_that_is_missing_has_its_default():
    config = folder_config("x")
    del config["seed"], config["clip"]
    assert check_config(config).seed == Config().seed
    assert check_config(config).clip == Config().clip


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_a_run_on_classes_of_different_size_balances_them(tmp_path, balance):
    root = write_folder(tmp_path / "videos")
    for name in ("ann", "bob"):
        (root / "fall" / f"{name}.mp4").unlink()
    config = folder_config(root, class_balance=balance, val_share=0.0, length=2, evaluate_every=2)
    experiment = vjax.build(config)
    sizes = {len(positions) for positions in experiment.classes_to_draw} if balance == "sampling" else set()
    assert len(sizes) == (2 if balance == "sampling" else 0)
    assert (len(set(experiment.class_weights)) == 2) == (balance == "weights")
    assert vjax.fit(experiment, tmp_path / "run", console=io.StringIO())["num_videos"] > 0


def test_videos_in_records_are_not_balanced(tmp_path):
    config = vjax.load_config(
        CONFIG.replace("folder", "quickstart"),
        [f"--config.source.data_dir={tmp_path}/data", "--config.class_balance=weights"],
    )
    with pytest.raises(vjax.InputError, match=r"config.class_balance needs the labels of all training videos"):
        vjax.train(config, tmp_path / "run", console=io.StringIO())
    assert not (tmp_path / "run" / "config.json").exists()
