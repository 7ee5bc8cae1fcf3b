"""A network as an ONNX file, which many runtimes take."""

import importlib
import logging
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vjax.errors import InputError
from vjax.export.portable import portable

_OPSET = 21  # of ONNX 1.16, which runtimes have known since 2024


def to_onnx(probs: Callable[[jax.Array], jax.Array], clip_shape: tuple[int, ...]) -> bytes:
    """Returns a file from uint8 clips `(b t h w c)`, any b, to probabilities `(b k)`; convolutions are 2D.

    Args:
      probs: function from clips to probabilities.
      clip_shape: shape `(t h w c)` of a clip.

    Raises:
      InputError: the extra is not installed, or it does not know an operation.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # jax2onnx tells about each of its plugins that this version of jax does not have
    try:
        clips = jax.ShapeDtypeStruct(("b", *clip_shape), jnp.uint8)
        model = _import("jax2onnx").to_onnx(
            portable(probs), [clips], model_name="vjax", opset=_OPSET, input_names=["clips"], output_names=["probs"]
        )
    except NotImplementedError as error:
        raise InputError(
            f"jax2onnx has no form for an operation of this network ({' '.join(str(error).split())}); export it as "
            "stablehlo"
        ) from error
    finally:
        logging.disable(disabled)
    _keep_halves(model)
    return model.SerializeToString()


def _keep_halves(model: Any) -> None:
    """Stores float32 constants in 16 bits where that changes no number, and casts them when the model starts."""
    onnx = _import("onnx")
    casts = []
    for constant in model.graph.initializer:
        values = onnx.numpy_helper.to_array(constant)
        halves = values.astype(np.float16) if values.dtype == np.float32 else values
        if values.ndim > 1 and values.dtype == np.float32 and np.array_equal(halves, values):
            name = constant.name
            constant.CopyFrom(onnx.numpy_helper.from_array(halves, f"{name}_half"))
            casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def load_onnx(model: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function from uint8 clips `(b t h w c)` to probabilities `(b k)` of a file, on the CPU.

    Raises:
      InputError: the extra is not installed.
    """
    session = _import("onnxruntime").InferenceSession(model, providers=["CPUExecutionProvider"])
    return lambda clips: session.run(None, {"clips": clips})[0]


def check_extra() -> None:
    """Raises an InputError if the extra is not installed."""
    for name in ("jax2onnx", "onnx", "onnxruntime"):
        _import(name)


def _import(name: str) -> Any:
    """Returns a module of the extra, imported here so that the others need it not."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"ONNX files need the extra onnx: pip install 'vjax[onnx]' ({error})") from error
