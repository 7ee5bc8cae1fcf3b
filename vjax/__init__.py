"""Video classification in JAX/Flax: the ladder from one frame to 3D CNNs, on your own videos."""

from vjax.config import load_config
from vjax.errors import InputError
from vjax.models import LADDER, MODELS, create
from vjax.run import Trained, load, train

__all__ = ["LADDER", "MODELS", "InputError", "Trained", "create", "load", "load_config", "train"]
__version__ = "0.1.0"
