"""Cross-validation: a run for each fold, and one result over all videos."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from processes import CONFIG, ROOT, command, error_line, in_this_process, unwrapped
from video_files import GROUPS, write_folder

import vjax
from vjax.cli.main import main
from vjax.training.loop import Interrupted

OF_GROUP = "--config.source.group=([a-z]+)\\."
TINY = ["--config.length=2", "--config.evaluate_every=2", "--config.checkpoint_every=1", "--config.val_share=0"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A folder with a video for each of two classes and four people."""
    return write_folder(tmp_path_factory.mktemp("crossval") / "videos")


def load(videos, *words):
    return vjax.load_config(f"{CONFIG}:tiny", [f"--config.source.root={videos}", OF_GROUP, *TINY, *words])


@pytest.fixture(scope="module")
def ladder(videos, tmp_path_factory):
    """Two networks on a fold for each group: (work directory, result, what the console got)."""
    workdir, console = tmp_path_factory.mktemp("crossval") / "ladder", io.StringIO()
    networks = ["single_frame", "slow_fusion"]
    return workdir, vjax.crossval(load(videos), workdir, folds="group", networks=networks, console=console), console


def test_every_video_has_one_answer_of_each_network_from_the_fold_of_its_group(ladder):
    _, found, _ = ladder
    assert [network["network"] for network in found["networks"]] == ["single_frame", "slow_fusion"]
    for network in found["networks"]:
        answers = network["videos"]
        assert sorted(answer["name"] for answer in answers) == sorted(
            f"{k}/{g}.mp4" for k in ("fall", "rise") for g in GROUPS
        )
        for answer in answers:
            assert answer["name"] == f"{answer['label']}/{answer['group']}.mp4"
            assert answer["fold"] == answer["group"]


def test_the_pooled_numbers_are_those_of_the_answers(ladder):
    workdir, found, _ = ladder
    assert json.loads((workdir / "crossval.json").read_text()) == found
    assert (found["num_videos"], found["num_groups"], found["chance"]) == (8, 4, 0.5)
    for network in found["networks"]:
        right = [answer["predicted"] == answer["label"] for answer in network["videos"]]
        assert network["video@1"] == np.mean(right)
        assert network["video@1"] == np.trace(network["confusion"]) / 8
        assert network["video@1_interval"][0] <= network["video@1"] <= network["video@1_interval"][1]
        assert network["mean_class"] == np.mean(list(network["class_accuracy"].values()))
        assert network["video@1"] == np.mean([run["video@1"] for run in network["folds"]])
        for run in network["folds"]:
            result = json.loads((workdir / run["workdir"] / "result.json").read_text())
            assert (result["video@1"], result["num_videos"]) == (run["video@1"], 2)
            with (workdir / run["workdir"] / "split.csv").open(newline="") as stream:
                assert {row["group"] for row in csv.DictReader(stream) if row["split"] == "test"} == {run["fold"]}


def test_the_protocol_says_how_the_folds_were_made(ladder):
    _, found, console = ladder
    assert found["protocol"] == (
        "4 folds, one for each group; groups kept together (4); seed 0; no validation split; 0 videos unreadable; "
        "2 clips x 1 crop of 8 frames at 5 fps, 16 x 16; mean of softmax over opinions, clips and crops; newest "
        "checkpoint"
    )
    assert "single_frame, repeat 1 of 1, fold ann" in console.getvalue()


def test_an_interrupted_cross_validation_goes_on_and_gives_the_same_result(ladder, videos, tmp_path):
    asked = iter(range(100))

    def in_the_second_fold():
        return next(asked) > 1

    config = load(videos, "--config.network.name=single_frame")
    with pytest.raises(Interrupted):
        vjax.crossval(config, tmp_path / "w", folds="group", console=io.StringIO(), should_stop=in_the_second_fold)
    assert (tmp_path / "w/single_frame/repeat_1/fold_1/result.json").exists()
    assert not (tmp_path / "w/single_frame/repeat_1/fold_4").exists()
    assert not (tmp_path / "w/crossval.json").exists()
    found = vjax.crossval(config, tmp_path / "w", folds="group", console=io.StringIO())
    _, whole, _ = ladder
    assert found["networks"] == whole["networks"][:1]


def test_repeats_have_other_folds_and_count_a_video_by_its_share_of_right_answers(videos, tmp_path):
    config = load(videos, "--config.source.group=")
    found = vjax.crossval(config, tmp_path / "w", folds=2, repeats=2, console=io.StringIO())
    (network,) = found["networks"]
    assert [(run["repeat"], run["fold"]) for run in network["folds"]] == [
        (1, "1 of 2"), (1, "2 of 2"), (2, "1 of 2"), (2, "2 of 2")
    ]  # fmt: skip
    of_repeats = [{(a["name"], a["fold"]) for a in network["videos"] if a["repeat"] == repeat} for repeat in (1, 2)]
    assert of_repeats[0] != of_repeats[1]
    assert len(network["videos"]) == np.sum(network["confusion"]) == 16
    assert (network["num_videos"], found["num_groups"]) == (8, 0)
    assert network["video@1"] == np.mean([a["predicted"] == a["label"] for a in network["videos"]])
    assert "2 folds, 2 times with other seeds; without groups" in found["protocol"]


def test_a_held_out_group_plays_no_role(videos, ladder):
    workdir, found, _ = ladder
    config = load(videos, "--config.held_out=ann")
    again = vjax.crossval(
        config, workdir, folds="group", networks=["single_frame", "slow_fusion"], console=io.StringIO()
    )
    assert again == found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 2}, r"ladder holds a cross-validation with other folds, of other videos or with another seed"),
        ({"networks": ["s4d"]}, r"networks does not know 's4d'"),
        ({"networks": ["slow_fusion", "slow_fusion"]}, r"networks has a name twice: slow_fusion, slow_fusion; give ea"),
        ({"networks": ["single_frame", "karpathy_late"]}, r"karpathy_late takes clips .* 16 frames of 170 x 170"),
        ({"repeats": 0}, r"needs 1 repeat or more, got 0"),
        ({"folds": 5}, r"5 folds need as many groups or more, and there are 4"),
    ],
)
def test_bad_options_are_refused_before_anything_is_trained(videos, ladder, options, message):
    workdir, _, _ = ladder
    with pytest.raises(vjax.InputError, match=message):
        vjax.crossval(load(videos), workdir, **{"folds": "group"} | options, console=io.StringIO())


def test_a_fold_has_only_videos_that_can_be_read_and_the_others_are_named(tmp_path):
    root = write_folder(tmp_path / "videos")
    for label in ("fall", "rise"):
        (root / label / "eve.mp4").write_bytes(b"no video")
    config = load(root, "--config.network.name=single_frame", "--config.max_bad_share=0.5")
    found = vjax.crossval(config, tmp_path / "w", folds="group", console=io.StringIO())
    assert [run["fold"] for run in found["networks"][0]["folds"]] == list(GROUPS)
    assert (found["bad_videos"], found["num_videos"]) == (["fall/eve.mp4", "rise/eve.mp4"], 8)
    assert "2 videos unreadable" in found["protocol"]


def test_a_video_that_is_listed_twice_is_refused(videos, tmp_path):
    rows = [f"{label}/{group}.mp4,{label}" for label in ("fall", "rise") for group in GROUPS]
    (videos / "m.csv").write_text("\n".join(["path,label", *rows, "fall/ann.mp4,rise"]))
    with pytest.raises(vjax.InputError, match=r"these videos are listed twice, .* told apart: fall/ann.mp4"):
        vjax.crossval(load(videos / "m.csv", "--config.source.group="), tmp_path / "w", console=io.StringIO())


def test_a_moved_cross_validation_is_continued(ladder, videos, tmp_path):
    workdir, found, _ = ladder
    shutil.copytree(workdir, tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved/slow_fusion/repeat_1/fold_4")
    again = vjax.crossval(
        load(videos), tmp_path / "moved", folds="group", networks=["single_frame", "slow_fusion"], console=io.StringIO()
    )
    assert again == found


def test_the_network_of_the_config_keeps_its_options(videos, tmp_path):
    config = load(videos, "--config.network.name=late_concat", "--config.network.hidden=8")
    vjax.crossval(config, tmp_path / "w", folds=2, console=io.StringIO())
    options = json.loads((tmp_path / "w/late_concat/repeat_1/fold_2/config.json").read_text())["network"]
    assert options["hidden"] == 8


def test_videos_in_records_are_refused(tmp_path):
    words = ["--config", f"{ROOT}/configs/quickstart.py:tiny", f"--config.source.data_dir={tmp_path}/data"]
    done = in_this_process("vjax", "crossval", *words, "--workdir", tmp_path / "w")
    assert "the videos of config.source 'moving_shapes' have no list of names, so they cannot be" in error_line(done)
    assert not (tmp_path / "w").exists()


def test_a_number_of_folds_is_a_number_or_the_word_group(capsys):
    with pytest.raises(SystemExit):
        main(["crossval", "--config", "folder", "--workdir", "w", "--folds", "few"])
    assert "must be a number or one of the words group and split, got 'few'" in unwrapped(capsys.readouterr().err)


def test_the_command_prints_the_folds_the_classes_and_the_pooled_result(videos, tmp_path):
    words = ["--config", f"{CONFIG}:tiny", f"--config.source.root={videos}", OF_GROUP, *TINY]
    done = command("vjax", "crossval", *words, "--workdir", tmp_path / "w", "--folds", "group")
    (network,) = json.loads((tmp_path / "w/crossval.json").read_text())["networks"]
    for run in network["folds"]:
        assert f"| slow_fusion |      1 | {run['fold']:>6} |      2 |   {run['video@1']:.3f} |" in done.stdout
    assert "label \\ predicted" in done.stdout
    low, high = network["video@1_interval"]
    assert f"| slow_fusion |   {network['video@1']:.3f} |   {low:.3f}-{high:.3f} |" in done.stdout
    assert "chance 0.500; 8 videos of 4 groups; 4 folds, one for each group; groups kept" in unwrapped(done.stdout)
    assert max(map(len, done.stdout.splitlines())) <= 80
