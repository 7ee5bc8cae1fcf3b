"""The comparison of the five networks, as a process."""

import dataclasses
import io
import json

import pytest
from processes import CONFIG, ROOT, command, error_line, in_this_process, unwrapped
from video_files import write_folder

import vjax
from vjax.cli.compare import describe
from vjax.compare import compare


def test_compare_trains_the_ladder_and_writes_a_table(tmp_path):
    words = ["--config", f"{ROOT}/configs/quickstart.py:tiny", f"--config.source.data_dir={tmp_path}/data"]
    words += ["--config.length=2", "--config.evaluate_every=2", "--config.network.backbone.widths=(4,8)"]
    done = command("vjax", "compare", *words, "--workdir", tmp_path / "ladder")
    rows = json.loads((tmp_path / "ladder" / "compare.json").read_text())
    assert [row["network"] for row in rows] == list(vjax.FUSION_NETWORKS)
    for row in rows:
        assert row.keys() == {
            "network", "clip@1", "video@1", "interval", "video@1_shuffled", "parameters", "multiply_adds",
            "ms_per_clip", "chance", "num_videos", "protocol",
        }  # fmt: skip
        assert 0 <= row["video@1_shuffled"] <= 1
        assert min(row["parameters"], row["multiply_adds"], row["ms_per_clip"]) > 0
        assert f"| {row['network']}" in done.stdout
    table = done.stdout[done.stdout.index("| network") :]  # below what TFDS prints
    assert max(map(len, table.splitlines())) <= 80
    assert f"chance 0.125; 8 test videos; {rows[0]['protocol']} interval: 95 %" in unwrapped(done.stdout)


def test_a_network_that_is_none_of_the_five_is_refused(tmp_path):
    words = ["--config", f"{ROOT}/configs/quickstart.py:tiny", f"--config.source.data_dir={tmp_path}/data"]
    done = in_this_process("vjax", "compare", *words, "--config.network.name=r3d_18", "--workdir", tmp_path / "ladder")
    assert "config.network.name of a comparison does not know 'r3d_18'" in error_line(done)
    assert not (tmp_path / "ladder").exists()


def test_runs_on_other_videos_are_not_compared(tmp_path):
    root = write_folder(tmp_path / "videos")
    config = vjax.load_config(f"{CONFIG}:tiny", [f"--config.source.root={root}", "--config.length=2"])
    shared = {key: config.network.options[key] for key in ("backbone", "dropout", "dtype")}
    first = dataclasses.replace(config, network=vjax.Choice("single_frame", **shared))
    vjax.train(first, tmp_path / "ladder/single_frame", console=io.StringIO())
    (root / "rise/new.mp4").write_bytes((root / "rise/ann.mp4").read_bytes())
    with pytest.raises(vjax.InputError, match=r"late_pool was tested on other videos .* than single_frame: .* away"):
        compare(config, tmp_path / "ladder", console=io.StringIO())


def test_large_networks_fit_80_columns_too():
    row = {
        "network": "single_frame", "video@1": 1.0, "interval": [0.98118, 1.0], "video@1_shuffled": 0.125,
        "parameters": 33_400_000, "multiply_adds": 40_697_000_000, "ms_per_clip": 1234.5, "chance": 0.125,
        "num_videos": 2000, "protocol": "5 clips x 1 crop",
    }  # fmt: skip
    text = describe([row], width=80)
    cells = [cell.strip() for cell in text.splitlines()[2].strip("|").split("|")]
    assert cells == ["single_frame", "1.000", "0.981-1.000", "0.125", "33.4 M", "40.7 G", "1,234"]
    assert max(map(len, text.splitlines())) <= 80
