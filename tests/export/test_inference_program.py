"""`inference.stablehlo`, which a run writes before its first step."""

import dataclasses
import io
import re

import flax.linen as nn
import jax
import numpy as np
import pytest
from outside_network import Mine
from processes import CONFIG
from video_files import write_folder

import vjax


class OnlyWholeBatches(Mine):
    """Asks for the size of its batch."""

    @nn.compact
    def __call__(self, clips, *, train):
        if len(clips) % 2 and len(clips) > 1:
            raise ValueError("an odd batch")
        return super().__call__(clips, train=train)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    root = write_folder(tmp_path_factory.mktemp("program") / "videos")
    return vjax.build(vjax.load_config(f"{CONFIG}:tiny", [f"--config.source.root={root}"]))


def test_the_program_of_a_run_and_its_checkpoint_give_the_probabilities(run_of_levels):
    trained = vjax.load(run_of_levels / "run")
    program = jax.export.deserialize(bytearray((run_of_levels / "run/inference.stablehlo").read_bytes()))
    clips = np.random.default_rng(0).integers(0, 256, (3, *trained.test_view.shape[1:])).astype(np.uint8)
    found = program.call(jax.device_get(trained.state.variables), clips)
    np.testing.assert_allclose(found, trained.infer_clips(clips).probs, atol=1e-5)


def test_a_network_that_cannot_be_exported_says_so_before_it_learns(experiment, tmp_path):
    console = io.StringIO()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/inference.stablehlo").write_bytes(b"of a start before this one")
    mine = dataclasses.replace(experiment, network=OnlyWholeBatches(2))
    result = vjax.fit(mine, tmp_path / "run", console=console)
    said = " ".join(console.getvalue().split())
    assert re.search(r"this network cannot be exported as StableHLO \(\w+: .*\)", said)
    assert said.index("Training goes on") < said.index("step 1")
    assert not (tmp_path / "run/inference.stablehlo").exists()
    assert result["num_videos"] > 0
