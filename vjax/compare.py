"""Comparison of networks: same data, same budget, one table, and a verdict in words."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import jax
import numpy as np

from vjax import mesh as meshes
from vjax import models
from vjax.config import Config
from vjax.cross_validation import crossval
from vjax.data.folds import Folds
from vjax.evaluation.motion import describe_probes
from vjax.evaluation.pooling import pool_videos
from vjax.evaluation.predictions import read_predictions
from vjax.evaluation.probes import PROBES
from vjax.evaluation.verdict import compare_networks
from vjax.json_files import write_json
from vjax.models.cost import count_parameters, multiply_adds
from vjax.probed import probe_run
from vjax.spec import check_names
from vjax.trained import Trained, load

RESULT_FILE = "compare.json"


def compare(
    config: Config,
    workdir: str | Path,
    *,
    networks: Sequence[str] = (),
    folds: Folds = "split",
    seeds: int = 1,
    console: TextIO = sys.stderr,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Trains networks on the same videos, tests them on changed frames too, and returns the content of `compare.json`.

    Each run has its own folder under the work directory, so an interrupted comparison can be resumed.

    Args:
      config: config of the runs; the networks use the backbone, dropout and dtype of its network.
      workdir: directory of the runs and of `compare.json`.
      networks: names of the networks; `models.FUSION_NETWORKS` if empty.
      folds: "split" for the config's own split, or the folds of a cross-validation, as in `crossval`.
      seeds: number of times that each network is trained on everything, each with another seed; a split of the config
        stays the same, and a number of folds is drawn anew.
      console: stream for progress messages.
      should_stop: function that tells whether to save and stop, as in `fit`.

    Returns:
      `protocol`, `class_names`, `chance`, `num_videos` and `num_groups` of the test; `networks`, an entry for each with
      its `network`, `video@1`, `video@1_interval`, `mean_class`, `class_accuracy`, `motion` (evaluation/motion.py),
      `parameters`, `multiply_adds` and `ms_per_clip`; and the `verdict`, a list of sentences.

    Raises:
      InputError: the config or the data does not fit.
      Interrupted: `should_stop` returned True; the state is saved.
    """
    workdir, names = Path(workdir).expanduser(), list(networks) or list(models.FUSION_NETWORKS)
    if not networks:
        check_names([config.network.name], models.FUSION_NETWORKS, what="config.network.name of a comparison")
    found = crossval(
        config, workdir, folds=folds, repeats=seeds, networks=names, console=console, should_stop=should_stop
    )
    # The networks on changed frames. Every network was tested on the same videos.
    places_of = {of["network"]: [workdir / run["workdir"] for run in of["folds"]] for of in found["networks"]}
    tested_of = {name: [read_predictions(place) for place in places] for name, places in places_of.items()}
    pooled = pool_videos(tested_of[names[0]])
    rows, right = [], {}
    for network in found["networks"]:
        places, tested = places_of[network["network"]], tested_of[network["network"]]
        right[network["network"]] = pooled.mean([run.right for run in tested])
        probed = [probe_run(place, run, console, should_stop) for place, run in zip(places, tested, strict=True)]
        motion = describe_probes(
            right[network["network"]],
            {name: pooled.mean([run[name] for run in probed]) for name in PROBES},
            label=pooled.label,
            groups=pooled.groups,
            class_names=found["class_names"],
        )
        kept = ("network", "video@1", "video@1_interval", "mean_class", "class_accuracy")
        rows.append({key: network[key] for key in kept} | _cost(load(places[0])) | {"motion": motion})
    kept = ("protocol", "class_names", "chance", "num_videos", "num_groups")
    result = {key: found[key] for key in kept} | {
        "networks": rows,
        "verdict": compare_networks(
            rows, right, label=pooled.label, groups=pooled.groups, sees_pictures=config.clip.input == "rgb"
        ),
    }
    if jax.process_index() == 0:
        write_json(workdir / RESULT_FILE, result)
    return result


def _cost(trained: Trained) -> dict[str, Any]:
    return {
        "parameters": count_parameters(trained.state.params),
        "multiply_adds": multiply_adds(trained.network, trained.test_view.shape[1:]),
        "ms_per_clip": _ms_per_clip(trained),
    }


def _ms_per_clip(trained: Trained) -> float:
    """Returns the median inference time per clip, in ms, for a batch of clips that is already on the devices."""
    num_clips = trained.config.test.batch_size
    clips = np.random.default_rng(0).integers(0, 256, (num_clips, *trained.test_view.shape[1:]), np.uint8)
    batch = meshes.put_batch(clips, trained.mesh)
    seconds = []
    for _ in range(8):
        started = time.perf_counter()
        trained.infer_clips(batch).probs.block_until_ready()
        seconds.append(time.perf_counter() - started)
    return 1000 * float(np.median(seconds[1:])) / num_clips  # the first call compiles
