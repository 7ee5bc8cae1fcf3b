"""How fast the forms of a trained network are on this machine: vjax, exported models, and PyTorch."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from vjax import mesh as meshes
from vjax.errors import InputError
from vjax.export.folder import FORMATS, LOADERS, TO_BYTES
from vjax.export.in_pytorch import torch_inference
from vjax.export.inference import make_inference
from vjax.trained import Trained, read_test_view

Inference = Callable[[np.ndarray], np.ndarray]  # from uint8 clips `(b t h w c)` to probabilities `(b k)`


@dataclasses.dataclass(frozen=True)
class Speed:
    """The speed of one form of a network.

    Attributes:
      ms: milliseconds for a clip, the median over turns.
      least_ms: those of the fastest call.
      clips_per_s: clips in a second.
      difference: largest difference of a probability from the first form.
    """

    ms: float
    least_ms: float
    clips_per_s: float
    difference: float


def forms_of_run(trained: Trained) -> tuple[dict[str, Inference], list[str]]:
    """Returns the forms of a run's network by name, its own first, and why others are not there."""
    forms: dict[str, Inference] = {"vjax": _own(trained)}
    clip_shape = trained.test_view.shape[1:]
    probs = make_inference(trained.network, trained.state.variables, trained.config.clip_input, half=False)
    missing = []
    for name in FORMATS:
        try:
            forms[name] = LOADERS[name](TO_BYTES[name](probs, clip_shape))
        except InputError as error:
            missing.append(f"{name}: {error}")
    try:
        forms["pytorch"] = torch_inference(trained)
    except InputError as error:
        missing.append(f"pytorch: {error}")
    return forms, missing


def _own(trained: Trained) -> Inference:
    return lambda clips: np.asarray(trained.infer_clips(meshes.put_batch(clips, trained.mesh)).probs)


def forms_of_folder(folder: Path) -> tuple[dict[str, Inference], tuple[int, ...]]:
    """Returns the models of an exported folder by name, and the shape `(t h w c)` of their clips.

    Raises:
      InputError: the folder has no model, a file is damaged, or the model needs an extra that is not installed.
    """
    files = {name: folder / f"model.{name}" for name in FORMATS}
    found = {name: file for name, file in files.items() if file.exists()}
    if not found:
        raise InputError(
            f"{folder}: is neither the work directory of a run nor a folder that vjax export has written; give one"
        )
    return {name: _load(name, file) for name, file in found.items()}, read_test_view(folder).shape[1:]


def _load(name: str, file: Path) -> Inference:
    try:
        return LOADERS[name](file.read_bytes())
    except InputError:
        raise
    except Exception as error:  # readers raise what they like for damaged files
        raise InputError(f"{file}: is damaged ({type(error).__name__}); export the run again") from error


def measure(
    forms: Mapping[str, Inference], clip_shape: tuple[int, ...], *, batch: int, rounds: int
) -> dict[str, Speed]:
    """Measures forms on random clips, in turns; a turn takes half a second or more.

    Args:
      forms: forms by name.
      clip_shape: shape `(t h w c)` of a clip.
      batch: clips in a call.
      rounds: number of turns of each form.
    """
    clips = np.random.default_rng(0).integers(0, 256, (batch, *clip_shape), np.uint8)
    first = {name: form(clips) for name, form in forms.items()}
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    medians: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds):
        for name, form in forms.items():
            form(clips)  # the threads of the form before it may still wait for work
            turn = _turn(form, clips)
            seconds[name] += turn
            medians[name].append(statistics.median(turn))
    expected = next(iter(first.values()))
    return {
        name: Speed(
            ms=1e3 * statistics.median(medians[name]) / batch,
            least_ms=1e3 * min(seconds[name]) / batch,
            clips_per_s=batch / statistics.median(medians[name]),
            difference=float(np.abs(first[name] - expected).max()),
        )
        for name in forms
    }


def _turn(form: Inference, clips: np.ndarray, *, least_s: float = 0.5) -> list[float]:
    """Returns the seconds of each call in a turn."""
    found: list[float] = []
    while sum(found) < least_s:
        started = time.perf_counter()
        form(clips)
        found.append(time.perf_counter() - started)
    return found
