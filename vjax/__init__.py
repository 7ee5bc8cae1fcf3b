"""Video classification in JAX/Flax: from single-frame networks to 3D CNNs, on your own videos."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vjax.config import Config
    from vjax.config_file import load_config
    from vjax.cross_validation import crossval
    from vjax.data.decode import VideoError
    from vjax.errors import InputError
    from vjax.evaluation.segments import SegmentFinder
    from vjax.experiment import Experiment, build
    from vjax.models import FUSION_NETWORKS, NETWORKS, create
    from vjax.models.registry import list_models
    from vjax.run import fit, train
    from vjax.spec import Choice
    from vjax.trained import Trained, load, save_weights

__all__ = [
    "FUSION_NETWORKS", "NETWORKS", "Choice", "Config", "Experiment", "InputError", "SegmentFinder", "Trained",
    "VideoError", "build", "create", "crossval", "fit", "list_models", "load", "load_config", "save_weights", "train",
]  # fmt: skip
__version__ = "0.1.0"

_MODULES = {
    "FUSION_NETWORKS": "models",
    "NETWORKS": "models",
    "Choice": "spec",
    "Config": "config",
    "InputError": "errors",
    "SegmentFinder": "evaluation.segments",
    "Trained": "trained",
    "VideoError": "data.decode",
    "Experiment": "experiment",
    "build": "experiment",
    "fit": "run",
    "create": "models",
    "crossval": "cross_validation",
    "list_models": "models.registry",
    "load": "trained",
    "load_config": "config_file",
    "save_weights": "trained",
    "train": "run",
}


def __getattr__(name: str) -> Any:
    """Imports a public name on first use, because a command must set up the allocator before JAX is imported."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
