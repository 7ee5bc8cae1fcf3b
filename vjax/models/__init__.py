"""Networks: pure linen modules from clips `(b t h w c)` to logits `(b v k)`."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import flax.linen as nn

from vjax import typed
from vjax.models.arguments import DTYPES, Backbone, Dropout, DType
from vjax.models.backbones import BACKBONES
from vjax.models.c3d import c3d
from vjax.models.fusion import EarlyFusion, LateFusion, Network, SingleFrame, SlowFusion
from vjax.models.karpathy import karpathy_early, karpathy_late, karpathy_single, karpathy_slow
from vjax.models.r3d import mc3_18, r2plus1d_18, r3d_18, r3d_34, r3d_50
from vjax.models.r3d import torch_names as names_of_r3d
from vjax.models.s3d import s3d
from vjax.models.s3d import torch_names as names_of_s3d
from vjax.models.slowfast import slowfast_r50
from vjax.models.slowfast import torch_names as names_of_slowfast
from vjax.models.x3d import torch_names as names_of_x3d
from vjax.models.x3d import x3d_m, x3d_s
from vjax.spec import Choice, Range, Table

# An option of `late_concat`, with the text that `vjax config FILE --explain` shows.
Hidden = Annotated[int, Range(1), "width of the MLP's hidden layer."]

SMALL = Choice("small")


def single_frame(
    num_classes: int, *, backbone: Backbone = SMALL, dropout: Dropout = 0.0, dtype: DType = "float32"
) -> Network:
    """Returns a 2D CNN that sees one frame at a time; it gives one opinion per frame (v = t)."""
    return SingleFrame(num_classes, _backbone(backbone, dtype, temporal=False), dropout)


def late_pool(
    num_classes: int, *, backbone: Backbone = SMALL, dropout: Dropout = 0.0, dtype: DType = "float32"
) -> Network:
    """Returns a 2D CNN on every frame; its features are averaged over time."""
    return LateFusion(num_classes, _backbone(backbone, dtype, temporal=False), dropout, fuse="pool")


def late_concat(
    num_classes: int,
    *,
    backbone: Backbone = SMALL,
    dropout: Dropout = 0.0,
    hidden: Hidden = 256,
    dtype: DType = "float32",
) -> Network:
    """Returns a 2D CNN on every frame; an MLP takes the features of all frames in their order."""
    return LateFusion(num_classes, _backbone(backbone, dtype, temporal=False), dropout, fuse="concat", hidden=hidden)


def early_fusion(
    num_classes: int, *, backbone: Backbone = SMALL, dropout: Dropout = 0.0, dtype: DType = "float32"
) -> Network:
    """Returns a 2D CNN whose first layer sees all frames at once, as channels."""
    return EarlyFusion(num_classes, _backbone(backbone, dtype, temporal=False), dropout)


def slow_fusion(
    num_classes: int, *, backbone: Backbone = SMALL, dropout: Dropout = 0.0, dtype: DType = "float32"
) -> Network:
    """Returns a 3D CNN, which convolves over time in every stage and shrinks time slowly."""
    return SlowFusion(num_classes, _backbone(backbone, dtype, temporal=True), dropout)


# In order: from no use of time to time in every stage. `vjax compare` trains these five.
FUSION_NETWORKS = ("single_frame", "late_pool", "late_concat", "early_fusion", "slow_fusion")

NETWORKS: Table[nn.Module] = Table(
    {
        "single_frame": single_frame,
        "late_pool": late_pool,
        "late_concat": late_concat,
        "early_fusion": early_fusion,
        "slow_fusion": slow_fusion,
        "karpathy_single": karpathy_single,
        "karpathy_early": karpathy_early,
        "karpathy_late": karpathy_late,
        "karpathy_slow": karpathy_slow,
        "c3d": c3d,
        "r3d_18": r3d_18,
        "mc3_18": mc3_18,
        "r2plus1d_18": r2plus1d_18,
        "r3d_34": r3d_34,
        "r3d_50": r3d_50,
        "s3d": s3d,
        "slowfast_r50": slowfast_r50,
        "x3d_s": x3d_s,
        "x3d_m": x3d_m,
    },
    given=("num_classes",),
)


# For each network with a form in PyTorch: the function from its variables to the names of PyTorch's tensors. Names of
# networks from outside this package are added here.
TORCH_NAMES: dict[str, Callable[[Mapping[str, Any]], dict[str, str]]] = {
    **dict.fromkeys(("r3d_18", "mc3_18", "r2plus1d_18", "r3d_34", "r3d_50"), names_of_r3d),
    "s3d": names_of_s3d,
    "slowfast_r50": names_of_slowfast,
    **dict.fromkeys(("x3d_s", "x3d_m"), names_of_x3d),
}


def create(name: str, num_classes: int, **options: Any) -> nn.Module:
    """Returns a network by name.

    Args:
      name: a key of `NETWORKS`.
      num_classes: k, the number of classes.
      **options: keyword arguments of the function under that name in `NETWORKS`. The five fusion networks take
        `backbone`, a choice from `BACKBONES` or a mapping `dict(name=..., ...)`; `dropout`; and `dtype`, "float32" or
        "bfloat16". `late_concat` also takes `hidden`. The other networks have options of their own.

    Raises:
      InputError: a name or an option is unknown, or a value is not allowed; the message says what is allowed.

    >>> import jax
    >>> network = create("slow_fusion", 8, backbone=Choice("small", widths=(8, 16)))
    >>> clips = jax.numpy.zeros((2, 16, 32, 32, 3))
    >>> variables = network.init(jax.random.key(0), clips, train=False)
    >>> network.apply(variables, clips, train=False).shape
    (2, 1, 8)
    """
    choice = typed.conform_choice({"name": name, **options}, NETWORKS, what="network")
    return NETWORKS.create(choice, num_classes=num_classes)


def _backbone(choice: Choice | Mapping[str, Any], dtype: str, *, temporal: bool) -> nn.Module:
    checked = typed.conform_choice(choice, BACKBONES, what="backbone")
    return BACKBONES.create(checked, temporal=temporal, dtype=DTYPES[dtype])
