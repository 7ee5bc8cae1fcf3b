"""The probes of finished runs: whether each test video is right on changed frames, kept in the work directory."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

import jax
import numpy as np

from vjax import mesh as meshes
from vjax.data.files import indexing_progress
from vjax.data.video import Source
from vjax.evaluation.predictions import TestPredictions
from vjax.evaluation.probes import PROBES
from vjax.trained import load
from vjax.training.loop import Interrupted
from vjax.weights.write import write_npz

_PROBES_FILE = "probes.npz"


def probe_run(
    workdir: Path,
    tested: TestPredictions,
    console: TextIO,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    source: Source | None = None,
) -> Mapping[str, np.ndarray]:
    """Returns for each probe whether each test video of a run is right; evaluates them if the run has none.

    Args:
      workdir: work directory of a finished run.
      tested: predictions of the run.
      console: stream for progress messages.
      should_stop: function that tells whether to stop before the probes.
      source: videos of the run, if they are open.

    Raises:
      InputError: the videos of the run cannot be opened.
      Interrupted: `should_stop` returned True.
    """
    kept = read_probes(workdir, tested)
    if meshes.in_any_process(kept is not None):
        assert kept is not None
        return kept
    trained = load(workdir)
    if should_stop():
        raise Interrupted(int(trained.state.step))
    if source is None:
        with indexing_progress(console) as progress:
            source = trained.open_source(advance=progress.advance)
    right = {name: trained.evaluate(source, probe=probe).correct for name, probe in PROBES.items()}
    if jax.process_index() == 0:
        write_npz(workdir / _PROBES_FILE, right | {"probs": tested.probs})
    return right


def read_probes(workdir: Path, tested: TestPredictions) -> Mapping[str, np.ndarray] | None:
    """Returns what `probe_run` has kept; None if there is nothing, or if the run has been made longer since."""
    path = workdir / _PROBES_FILE
    if not path.exists():
        return None
    kept = dict(np.load(path))
    # The file also has the predictions that it belongs to.
    if not np.array_equal(kept["probs"], tested.probs, equal_nan=True):
        return None
    return {name: kept[name] for name in PROBES}
