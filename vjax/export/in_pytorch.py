"""Networks of the table as PyTorch's libraries have them, to compare with. The extra torch installs them."""

# pyright: reportMissingImports=false

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from vjax.errors import InputError
from vjax.models import NETWORKS
from vjax.models.card import card_of
from vjax.trained import Trained
from vjax.training.convert import to_torch


def _resnet(name: str, num_classes: int, clip_shape: Sequence[int]) -> Any:
    del clip_shape  # any will do
    return getattr(importlib.import_module("torchvision.models.video"), name)(num_classes=num_classes)


def _s3d(num_classes: int, clip_shape: Sequence[int]) -> Any:
    if clip_shape[0] < 9 or tuple(clip_shape[1:3]) != (224, 224):  # its last pool has a window of a fixed size
        raise InputError(
            f"torchvision's S3D takes clips of 9 frames or more of 224 x 224, not {clip_shape[0]} of {clip_shape[1]} x "
            f"{clip_shape[2]}"
        )
    return importlib.import_module("torchvision.models.video").s3d(num_classes=num_classes, dropout=0.0)


def _x3d(num_classes: int, clip_shape: Sequence[int]) -> Any:
    # Its own Swish reads an attribute that PyTorch has removed.
    silu = importlib.import_module("torch.nn").SiLU
    return importlib.import_module("pytorchvideo.models.x3d").create_x3d(
        input_clip_length=clip_shape[0], input_crop_size=_side(clip_shape), inner_act=silu, **_options(num_classes)
    )


def _slowfast(num_classes: int, clip_shape: Sequence[int]) -> Any:
    num_frames, cells = clip_shape[0], -(-_side(clip_shape) // 32)
    pools = ((num_frames // 4, cells, cells), (num_frames, cells, cells))
    return importlib.import_module("pytorchvideo.models.slowfast").create_slowfast(
        head_pool_kernel_sizes=pools, **_options(num_classes)
    )


def _side(clip_shape: Sequence[int]) -> int:
    """Returns the side of square clips `(t h w c)`."""
    if clip_shape[1] != clip_shape[2]:
        raise InputError(f"PyTorchVideo's networks take square clips, not {clip_shape[1]} x {clip_shape[2]}")
    return clip_shape[1]


def _options(num_classes: int) -> dict[str, Any]:
    return {"model_num_class": num_classes, "dropout_rate": 0.0, "head_activation": None}


# Functions from a number of classes and the shape `(t h w c)` of a clip to a module, by the name in vjax.
LIBRARY: Mapping[str, Callable[[int, Sequence[int]], Any]] = {
    **{name: functools.partial(_resnet, name) for name in ("r3d_18", "mc3_18", "r2plus1d_18")},
    "s3d": _s3d,
    "x3d_s": _x3d,
    "x3d_m": _x3d,
    "slowfast_r50": _slowfast,
}


def slow_and_fast(clips: Any) -> list[Any]:
    """Returns the two inputs of PyTorchVideo's SlowFast: every fourth frame of clips `(b c t h w)`, and all frames."""
    frames = clips.shape[2]
    slow = importlib.import_module("torch").linspace(0, frames - 1, frames // 4).long()
    return [clips[:, :, slow], clips]


def torch_inference(trained: Trained) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the inference of a run's network in PyTorch, from uint8 clips `(b t h w c)` to probabilities `(b k)`.

    Raises:
      InputError: no library of PyTorch has the network, or it is not installed.
    """
    # The module of the library, with the numbers of the run.
    name, config = trained.network_name, trained.config
    card = card_of(NETWORKS[name]) if name in LIBRARY and name == config.network.name else None
    if card is None or card.torch_names is None:
        raise InputError(f"neither torchvision nor PyTorchVideo has this network; they have {', '.join(LIBRARY)}")
    if config.clip.input != "rgb":
        raise InputError(f"PyTorch's form takes frames, and this run has config.clip.input={config.clip.input!r}")
    try:
        torch: Any = importlib.import_module("torch")
        module = LIBRARY[name](len(trained.class_names), trained.test_view.shape[1:])
    except ImportError as error:
        raise InputError(f"PyTorch's networks need the extra torch: pip install 'vjax[torch]' ({error})") from error
    variables = jax.device_get(trained.state.variables)
    tensors = to_torch(variables, card.torch_names(variables), convolutions=card.torch_convolutions)
    try:
        module.load_state_dict({key: torch.from_numpy(leaf.copy()) for key, leaf in tensors.items()})
    except RuntimeError as error:
        raise InputError(f"PyTorch's form of {name} has other layers than this network has with its options") from error
    module.eval()
    mean, std = (
        torch.tensor(values).view(3, 1, 1, 1) for values in (config.normalization.mean, config.normalization.std)
    )

    def probs(clips: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            # Channels last in memory: PyTorch's channels_last_3d.
            frames = torch.from_numpy(clips).permute(0, 4, 1, 2, 3)
            inputs = (frames.float() / 255 - mean) / std
            logits = module(slow_and_fast(inputs) if name == "slowfast_r50" else inputs)
            return torch.softmax(logits, -1).numpy()

    return probs
