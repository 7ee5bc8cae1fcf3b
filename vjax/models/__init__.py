"""Networks: pure linen modules from clips `(b t h w c)` to logits `(b v k)`."""

from collections.abc import Mapping
from typing import Annotated, Any

import flax.linen as nn

from vjax import typed
from vjax.models.arguments import DTYPES, Backbone, Dropout, DType
from vjax.models.backbones import BACKBONES
from vjax.models.c3d import c3d
from vjax.models.card import Card, Figure, described
from vjax.models.fusion import EarlyFusion, LateFusion, Network, SingleFrame, SlowFusion
from vjax.models.karpathy import karpathy_early, karpathy_late, karpathy_single, karpathy_slow
from vjax.models.r3d import mc3_18, r2plus1d_18, r3d_18, r3d_34, r3d_50
from vjax.models.s3d import s3d
from vjax.models.slowfast import slowfast_r50
from vjax.models.x3d import x3d_m, x3d_s
from vjax.spec import Choice, Range, Table

# An option of `late_concat`, with the text that `vjax config FILE --explain` shows.
Hidden = Annotated[int, Range(1), "width of the MLP's hidden layer."]

SMALL = Choice("small")

_KARPATHY = 'Karpathy et al. 2014, "Large-scale video classification with convolutional neural networks"'
_TRAN = 'Tran et al. 2018, "A closer look at spatiotemporal convolutions for action recognition"'
_ON_RESNET18 = "backbone=resnet18, whose blocks start as the identity here"


def _card(
    source: str,
    deviations: str,
    *,
    parameters: int,
    multiply_adds: int,
    figures: tuple[Figure, ...] = (),
    measured: tuple[Figure, ...] = (),
) -> Card:
    """Returns the card of a fusion network on the small backbone; nothing is published about that network itself."""
    return Card(
        "fusion",
        source=source,
        clip=(16, 112, 112),
        num_classes=400,
        parameters=parameters,
        multiply_adds=multiply_adds,
        figures=figures,
        measured=measured,
        deviations=f"The backbone is an option, the same for all five networks. {deviations}".strip(),
    )


def _of_tran(name: str, *, clip: float, video: float) -> tuple[Figure, Figure]:
    """Returns the accuracies of the network on ResNet-18, which its authors call `name`."""
    protocol, source = "10 clips x 1 crop of 16 frames, 112 x 112", "VMZ, the authors' code, from scratch"
    return (
        Figure("Kinetics-400", "video@1", video, protocol, source, f"{_ON_RESNET18}; called {name} there"),
        Figure("Kinetics-400", "clip@1", clip, protocol, source, f"{_ON_RESNET18}; called {name} there"),
    )


def _on_weizmann(*, pretrained: float, scratch: float) -> tuple[Figure, Figure]:
    """Returns the accuracies on the nine folds of Weizmann, from ImageNet weights and from random numbers."""
    protocol = "9 folds, each with one subject held out; 5 clips x 1 crop of 8 frames at 6.25 fps, 72 x 90"
    source = "benchmarks/weizmann_folds.py at commit 6e18bc4"
    return (
        Figure("Weizmann", "video@1", pretrained, protocol, source, "backbone=efficientnet_lite0, ImageNet weights"),
        Figure("Weizmann", "video@1", scratch, protocol, source, "backbone=efficientnet_lite0, random numbers"),
    )


@described(
    _card(
        _KARPATHY,
        "",
        parameters=49_696,
        multiply_adds=549_535_744,
        measured=_on_weizmann(pretrained=78.9, scratch=45.6),
    )
)
def single_frame(
    num_classes: int, *, backbone: Backbone = SMALL, dropout: Dropout = 0.0, dtype: DType = "float32"
) -> Network:
    """Returns a 2D CNN that sees one frame at a time; it gives one opinion per frame (v = t)."""
    return SingleFrame(num_classes, _backbone(backbone, dtype, temporal=False), dropout)


@described(
    _card(
        _TRAN,
        "The paper has this network on ResNet-18.",
        parameters=49_696,
        multiply_adds=549_151_744,
        figures=_of_tran("f-R2D", clip=50.7, video=60.9),
        measured=_on_weizmann(pretrained=88.9, scratch=56.7),
    )
)
def late_pool(
    num_classes: int, *, backbone: Backbone = SMALL, dropout: Dropout = 0.0, dtype: DType = "float32"
) -> Network:
    """Returns a 2D CNN on every frame; its features are averaged over time."""
    return LateFusion(num_classes, _backbone(backbone, dtype, temporal=False), dropout, fusion="pool")


@described(
    _card(
        _KARPATHY,
        "It looks at all frames, not at two, and joins them in an MLP with a layer norm.",
        parameters=51_507_488,
        multiply_adds=600_608_768,
        measured=_on_weizmann(pretrained=87.8, scratch=58.9),
    )
)
def late_concat(
    num_classes: int,
    *,
    backbone: Backbone = SMALL,
    dropout: Dropout = 0.0,
    hidden: Hidden = 256,
    dtype: DType = "float32",
) -> Network:
    """Returns a 2D CNN on every frame; an MLP takes the features of all frames in their order."""
    return LateFusion(num_classes, _backbone(backbone, dtype, temporal=False), dropout, fusion="concat", hidden=hidden)


@described(
    _card(
        f"{_KARPATHY}; {_TRAN}",
        "The paper of 2018 has this network on ResNet-18.",
        parameters=56_176,
        multiply_adds=115_631_104,
        figures=_of_tran("R2D", clip=47.5, video=59.4),
    )
)
def early_fusion(
    num_classes: int, *, backbone: Backbone = SMALL, dropout: Dropout = 0.0, dtype: DType = "float32"
) -> Network:
    """Returns a 2D CNN whose first layer sees all frames at once, as channels."""
    return EarlyFusion(num_classes, _backbone(backbone, dtype, temporal=False), dropout)


@described(
    _card(
        f"{_KARPATHY}; {_TRAN}",
        "It convolves over time in every stage and shrinks it step by step, as 3D CNNs do.",
        parameters=96_640,
        multiply_adds=780_362_752,
        figures=_of_tran("R3D", clip=52.9, video=64.7),
        measured=_on_weizmann(pretrained=75.6, scratch=45.6),
    )
)
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
