"""The comparison of the five networks, as a process."""

import json

from processes import ROOT, command

import vjax


def test_compare_trains_the_ladder_and_writes_a_table(tmp_path):
    words = ["--config", f"{ROOT}/configs/quickstart.py:tiny", f"--config.source.data_dir={tmp_path}/data"]
    words += ["--config.length=2", "--config.evaluate_every=2", "--config.network.backbone.widths=(4,8)"]
    done = command("vjax", "compare", *words, "--workdir", tmp_path / "ladder")
    rows = json.loads((tmp_path / "ladder" / "compare.json").read_text())
    assert [row["network"] for row in rows] == list(vjax.FUSION_NETWORKS)
    for row in rows:
        assert row.keys() == {
            "network", "clip@1", "video@1", "interval", "video@1_shuffled", "parameters", "multiply_adds",
            "ms_per_clip",
        }  # fmt: skip
        assert 0 <= row["video@1_shuffled"] <= 1
        assert min(row["parameters"], row["multiply_adds"], row["ms_per_clip"]) > 0
        assert f"| {row['network']}" in done.stdout
