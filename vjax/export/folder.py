"""An exported network as a folder: the model, what one must know to use it, and a program that does."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from vjax.errors import InputError
from vjax.export.inference import make_inference
from vjax.export.model_card import model_card
from vjax.export.onnx_file import check_extra, load_onnx, to_onnx
from vjax.export.stablehlo import load_stablehlo, to_stablehlo
from vjax.json_files import check_writable, write_bytes, write_json, write_text
from vjax.trained import Trained

FORMATS = ("stablehlo", "onnx")
_LIMITS = {False: 1e-4, True: 2e-2}  # of the difference from the run's own probabilities, by `half`
_FILES = {
    "labels.json": "names of the classes, in the order of the probabilities",
    "preprocessing.json": "clips and crops of a video, and the temperature of the probabilities",
    "run.py": "program that names the class of video files",
    "clips.py": "clips of a video file, for run.py",
}
_MODELS = {
    "stablehlo": "model for jax (`jax.export.deserialize`), on CPU, CUDA and TPU",
    "onnx": "model for ONNX runtimes, with 2D convolutions only",
}
TO_BYTES: Mapping[str, Callable[..., bytes]] = {"stablehlo": to_stablehlo, "onnx": to_onnx}
LOADERS: Mapping[str, Callable[[bytes], Callable[[np.ndarray], np.ndarray]]] = {
    "stablehlo": load_stablehlo,
    "onnx": load_onnx,
}


def export(trained: Trained, out: str | Path, *, formats: Sequence[str], half: bool = False) -> dict[str, float]:
    """Writes a trained network into a new folder, and compares each model with it on random clips.

    Args:
      trained: network of a run.
      out: folder to write; it must not exist, or be empty.
      formats: formats of the model, of `FORMATS`; `run.py` takes ONNX if there are both.
      half: whether kernels are stored in 16 bits.

    Returns:
      The largest difference of a probability, by format.

    Raises:
      InputError: the folder exists, an extra is missing, or a model differs by more than 1e-4 (2e-2 with `half`).
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists; give a folder that does not, or an empty one")
    check_writable(out / "labels.json")
    if "onnx" in formats:
        check_extra()
    # Everything is made before the first file is written.
    files = {f"model.{name}": _MODELS[name] for name in formats} | _FILES
    card = model_card(trained, files=files)
    probs = make_inference(trained.network, trained.state.variables, trained.config.clip_input, half=half)
    clip_shape = trained.test_view.shape[1:]
    clips = np.random.default_rng(0).integers(0, 256, (2, *clip_shape), np.uint8)
    expected = np.asarray(trained.infer_clips(clips).probs)
    models = {name: TO_BYTES[name](probs, clip_shape) for name in formats}
    differences = {name: float(np.abs(LOADERS[name](models[name])(clips) - expected).max()) for name in formats}
    for name in formats:
        if not differences[name] <= _LIMITS[half]:
            raise InputError(
                f"the {name} model differs from the run's network by {differences[name]:.1e}, which is more than "
                f"{_LIMITS[half]:g}; export another format, or without --half"
            )
    for name, model in models.items():
        write_bytes(out / f"model.{name}", model)
    # What one must know to use them.
    write_json(out / "labels.json", list(trained.class_names))
    write_json(out / "preprocessing.json", preprocessing(trained))
    for name in ("run.py", "clips.py"):
        write_text(out / name, resources.files("vjax.export").joinpath("program", name).read_text())
    write_text(out / "model_card.md", card)
    return differences


def preprocessing(trained: Trained) -> dict[str, Any]:
    """Returns what makes the clips of a video and its probabilities, ready for JSON."""
    temperature = 1.0 if trained.calibration is None else trained.calibration.temperature
    return dataclasses.asdict(trained.test_view) | {"temperature": temperature}
