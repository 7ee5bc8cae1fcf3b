"""Names the class of videos: `python run.py VIDEO...`. Needs numpy, PyAV, and onnxruntime, or jax and flatbuffers."""

import json
import pathlib
import sys

import numpy as np
from clips import read_clips


def load_model(folder):
    """Returns the function from uint8 clips (b t h w 3) to their probabilities (b k)."""
    if (folder / "model.onnx").exists():
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        return lambda clips: session.run(None, {session.get_inputs()[0].name: clips})[0]
    from jax import export

    return export.deserialize(bytearray((folder / "model.stablehlo").read_bytes())).call


def main(paths, folder=pathlib.Path(__file__).parent):
    """Prints a line for each video: its name, and the classes with their probabilities."""
    labels, how = (json.loads((folder / name).read_text()) for name in ("labels.json", "preprocessing.json"))
    model = load_model(folder)
    sys.stdout.reconfigure(errors="backslashreplace")
    for path in paths:
        probs = np.mean([model(clip[None])[0] for clip in read_clips(path, **how)], axis=0)
        probs = probs.astype(float) ** (1 / how["temperature"])
        probs /= probs.sum()
        print(path, ", ".join(f"{labels[k]} {probs[k]:.4f}" for k in np.argsort(-probs)[:5]))


if __name__ == "__main__":
    main(sys.argv[1:] or sys.exit(__doc__))
