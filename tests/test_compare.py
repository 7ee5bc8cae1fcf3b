"""The comparison of networks, as a process and from Python."""

import io
import json
import shutil

import numpy as np
import pytest
from processes import CONFIG, ROOT, command, error_line, in_this_process, unwrapped
from video_files import write_folder

import vjax
from vjax.cli.compare import describe
from vjax.compare import compare

OF_GROUP = "--config.source.group=([a-z]+)\\."


def quickstart(tmp_path):
    words = ["--config", f"{ROOT}/configs/quickstart.py:tiny", f"--config.source.data_dir={tmp_path}/data"]
    return [*words, "--config.length=2", "--config.evaluate_every=2", "--config.network.backbone.widths=(4,8)"]


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    """Two networks on two folds, each with two seeds: (config, options, work directory, result)."""
    base = tmp_path_factory.mktemp("compare")
    root = write_folder(base / "videos")
    config = vjax.load_config(
        f"{CONFIG}:tiny", [f"--config.source.root={root}", OF_GROUP, "--config.length=2", "--config.val_share=0"]
    )
    options = {"networks": ["single_frame", "slow_fusion"], "folds": 2, "seeds": 2, "console": io.StringIO()}
    return config, options, base / "ladder", compare(config, base / "ladder", **options)


def test_compare_trains_the_five_networks_and_writes_a_table(tmp_path):
    done = command("vjax", "compare", *quickstart(tmp_path), "--workdir", tmp_path / "ladder")
    found = json.loads((tmp_path / "ladder" / "compare.json").read_text())
    assert [row["network"] for row in found["networks"]] == list(vjax.FUSION_NETWORKS)
    for row in found["networks"]:
        assert 0 <= row["motion"]["probes"]["shuffled"]["video@1"] <= 1
        assert min(row["parameters"], row["multiply_adds"], row["ms_per_clip"]) > 0
        assert f"| {row['network']}" in done.stdout
    table = done.stdout[done.stdout.index("| network") :]  # below what TFDS prints
    assert max(map(len, table.splitlines()[:8])) <= 80
    said = unwrapped(done.stdout)
    assert f"chance 0.125; 8 test videos; {found['protocol']} interval: 95 %" in said
    assert said.endswith(" ".join(found["verdict"]))


def test_every_network_has_the_same_folds_and_seeds(folds):
    _, _, workdir, found = folds
    assert (found["num_videos"], found["num_groups"]) == (8, 4)
    runs = sorted(path.parent.relative_to(workdir).as_posix() for path in workdir.rglob("probes.npz"))
    assert runs == sorted(
        f"{network}/repeat_{seed}/fold_{fold}"
        for network in ("single_frame", "slow_fusion") for seed in (1, 2) for fold in (1, 2)
    )  # fmt: skip
    pooled = json.loads((workdir / "crossval.json").read_text())
    for row, of_folds in zip(found["networks"], pooled["networks"], strict=True):
        assert row["video@1"] == of_folds["video@1"]
        assert row["video@1"] == pytest.approx(np.mean([a["predicted"] == a["label"] for a in of_folds["videos"]]))


def test_a_drop_is_that_of_the_pooled_answers(folds):
    _, _, workdir, found = folds
    for row in found["networks"]:
        files = [np.load(path) for path in workdir.glob(f"{row['network']}/*/*/probes.npz")]
        for name, probe in row["motion"]["probes"].items():
            after = np.concatenate([file[name] for file in files]).mean()
            assert probe["video@1"] == pytest.approx(after)
            assert probe["drop"] == pytest.approx(row["video@1"] - after)


def test_a_finished_comparison_is_not_made_again(folds, tmp_path):
    config, options, workdir, found = folds
    shutil.copytree(workdir, tmp_path / "ladder")
    for checkpoints in list((tmp_path / "ladder").glob("*/*/*/checkpoints"))[1:]:
        if "repeat_1/fold_1" not in str(checkpoints):  # the first run is loaded for the cost of the network
            shutil.rmtree(checkpoints)
    again = compare(config, tmp_path / "ladder", **options)
    for row in (*again["networks"], *found["networks"]):
        row.pop("ms_per_clip", None)
    assert again == found


@pytest.mark.slow
def test_seeds_are_runs_on_the_same_split_of_the_config(tmp_path):
    words = [*quickstart(tmp_path), "--networks", "single_frame", "--seeds", "2"]
    done = in_this_process("vjax", "compare", *words, "--workdir", tmp_path / "ladder")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "ladder" / "compare.json").read_text())
    seeds = [
        json.loads((tmp_path / f"ladder/single_frame/repeat_{n}/split/config.json").read_text())["seed"] for n in (1, 2)
    ]
    assert seeds == [0, 1]
    assert found["num_videos"] == 8
    assert "2 times with other seeds" in found["protocol"]


@pytest.mark.slow
def test_seeds_keep_the_split_that_the_first_one_has_drawn(tmp_path):
    root = write_folder(tmp_path / "videos")
    config = vjax.load_config(f"{CONFIG}:tiny", [f"--config.source.root={root}", "--config.length=2"])
    options = {"networks": ["single_frame", "late_pool"], "seeds": 2, "console": io.StringIO()}
    found = compare(config, tmp_path / "ladder", **options)
    tables = {path.read_text() for path in (tmp_path / "ladder").rglob("split.csv")}
    assert len(tables) == 1
    assert found["num_videos"] == 2
    # A moved comparison goes on.
    shutil.move(tmp_path / "ladder", tmp_path / "moved")
    assert compare(config, tmp_path / "moved", **options)["num_videos"] == 2


def test_the_probes_of_a_run_that_is_made_longer_are_made_again(tmp_path):
    words = [*quickstart(tmp_path), "--networks", "single_frame", "--workdir", tmp_path / "ladder"]
    assert in_this_process("vjax", "compare", *words).returncode == 0
    path = tmp_path / "ladder/single_frame/repeat_1/split/probes.npz"
    before = np.load(path)["probs"]
    assert in_this_process("vjax", "compare", *words, "--config.length=4").returncode == 0
    run = np.load(path.with_name("predictions.npz"))["probs"]
    np.testing.assert_array_equal(np.load(path)["probs"], run)
    assert not np.array_equal(before, run)


def test_a_network_that_is_none_of_the_five_is_refused(tmp_path):
    words = ["--config", f"{ROOT}/configs/quickstart.py:tiny", f"--config.source.data_dir={tmp_path}/data"]
    words += ["--config.network.name=r3d_18"]
    done = in_this_process("vjax", "compare", *words, "--workdir", tmp_path / "ladder")
    assert "config.network.name of a comparison does not know 'r3d_18'" in error_line(done)
    assert not (tmp_path / "ladder").exists()


def test_runs_on_other_videos_are_not_compared(tmp_path):
    root = write_folder(tmp_path / "videos")
    config = vjax.load_config(f"{CONFIG}:tiny", [f"--config.source.root={root}", "--config.length=2"])
    compare(config, tmp_path / "ladder", networks=["single_frame"], console=io.StringIO())
    (root / "rise/new.mp4").write_bytes((root / "rise/ann.mp4").read_bytes())
    names = ["single_frame", "late_pool"]
    with pytest.raises(
        vjax.InputError, match=r"late_pool was trained or tested on other videos than single_frame, .* undo that"
    ):
        compare(config, tmp_path / "ladder", networks=names, console=io.StringIO())


def test_large_networks_fit_80_columns_too():
    probes = {name: {"video@1": 0.125} for name in ("shuffled", "frozen")}
    row = {
        "network": "single_frame", "video@1": 1.0, "video@1_interval": [0.98118, 1.0], "motion": {"probes": probes},
        "parameters": 33_400_000, "multiply_adds": 40_697_000_000, "ms_per_clip": 1234.5,
    }  # fmt: skip
    found = {
        "networks": [row], "chance": 0.125, "num_videos": 2000, "num_groups": 9, "protocol": "5 clips x 1 crop",
        "verdict": ["single_frame is enough."],
    }  # fmt: skip
    text = describe(found, width=80)
    cells = [cell.strip() for cell in text.splitlines()[2].strip("|").split("|")]
    assert cells == ["single_frame", "1.000", "0.981-1.000", "0.125", "33.4 M", "40.7 G", "1,234"]
    assert max(map(len, text.splitlines())) <= 80
    assert "2,000 test videos of 9 groups; 5 clips x 1 crop" in text
    assert text.endswith("single_frame is enough.")
