"""Comparison of the five fusion networks: same data, same budget, one table."""

import sys
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from vjax import mesh as meshes
from vjax import models
from vjax.config import Config
from vjax.data.files import indexing_progress
from vjax.errors import InputError
from vjax.evaluation.probes import shuffle_frames
from vjax.json_files import write_json
from vjax.models.cost import count_parameters, multiply_adds
from vjax.run import train
from vjax.spec import check_names
from vjax.trained import Trained, load


def compare(config: Config, workdir: str | Path, *, console: TextIO = sys.stderr) -> list[dict[str, Any]]:
    """Trains the five networks of `models.FUSION_NETWORKS` and returns a row for each.

    A row has the `network`, its `clip@1`, `video@1` and 95 % `interval`, `video@1_shuffled`, `parameters`,
    `multiply_adds` and `ms_per_clip`, and the `chance`, `num_videos` and `protocol` of the test. `video@1_shuffled` is
    measured with the frames of every test clip in random order: a network that is as accurate on them does not use
    motion. The rows are also written to `compare.json`.

    Each network has its own folder under the work directory, so an interrupted comparison can be resumed.

    Args:
      config: config of the runs; all five networks use the backbone, dropout and dtype of its network.
      workdir: directory of the five runs and the table.
      console: stream for progress messages.
    """
    workdir = Path(workdir).expanduser()
    check_names([config.network.name], models.FUSION_NETWORKS, what="config.network.name of a comparison")
    rows = []
    for name in models.FUSION_NETWORKS:
        console.write(f"{name}\n")
        result = train(config.with_network(name), workdir / name, console=console)
        if rows and result["protocol"] != rows[0]["protocol"]:
            raise InputError(
                f"{workdir / name} was tested on other videos or clips than {rows[0]['network']}: "
                f"{result['protocol']!r}, not {rows[0]['protocol']!r}; move the files that were added since away, or "
                "compare in another --workdir"
            )
        trained = load(workdir / name)
        with indexing_progress(console) as progress:
            source = trained.open_source(advance=progress.advance)
        shuffled = trained.evaluate(source, probe=shuffle_frames)
        rows.append(
            {
                "network": name,
                "clip@1": result["clip@1"],
                "video@1": result["video@1"],
                "interval": result["video@1_interval"],
                "video@1_shuffled": shuffled.metrics["video@1"],
                "parameters": count_parameters(trained.state.params),
                "multiply_adds": multiply_adds(trained.network, trained.test_view.shape[1:]),
                "ms_per_clip": _ms_per_clip(trained),
                **{key: result[key] for key in ("chance", "num_videos", "protocol")},
            }
        )
    write_json(workdir / "compare.json", rows)
    return rows


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
