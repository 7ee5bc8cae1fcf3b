"""R3D, MC3 and R(2+1)D: residual networks over space and time, in the form of torchvision's published weights.

Each network is `SlowFusion` on a `ResNet`: an average over time and space and a linear layer follow the stages.
`torch_names` maps the names of its variables to those of torchvision's tensors.

Source: Tran et al. 2018, "A closer look at spatiotemporal convolutions for action recognition", and torchvision 0.29,
`models/video/resnet.py`. As there, the last norm of a block starts with a scale of one. Deviations: `DEVIATIONS`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from vjax.models import resnet
from vjax.models.arguments import DTYPES, Dropout, DType, Remat
from vjax.models.card import Card, Figure, Preprocessing, Weights, described, in_backbone
from vjax.models.fusion import Network, SlowFusion
from vjax.models.resnet import ResNet

# Whether the stem and the four stages cover time.
_ALL_3D = (True, True, True, True, True)
_MIXED = (True, True, False, False, False)
_DEPTHS_OF_34 = (3, 4, 6, 3)

Mid = Annotated[
    Literal["torchvision", "paper"],
    'channels between the two kernels of a factored convolution: "torchvision" computes them once for a block, "paper" '
    "for each of its convolutions.",
]


def torch_names(variables: Mapping[str, Any]) -> dict[str, str]:
    """Returns torchvision's name of each variable of a network of this file; see `vjax.models.resnet.torch_names`."""
    return in_backbone(resnet.torch_names)(variables) | {
        "params/head/logits/kernel": "fc.weight",
        "params/head/logits/bias": "fc.bias",
    }


TORCHVISION = "torchvision 0.29, models/video/resnet.py"
VMZ = "VMZ, the authors' code, from scratch"
DEVIATIONS = (
    "Kernels are drawn by the number of their inputs, not of their outputs; the classifier's kernel is drawn by "
    "LeCun's rule, not with a deviation of 0.01; running variances average the biased variances of the batches. "
    "torchvision's preprocessing resizes frames to 128 x 171, whatever their shape, and crops 112 x 112; that of vjax "
    "keeps the shape of a pixel, and crops the same share of the frame's shorter side."
)
_PAPER = 'Tran et al. 2018, "A closer look at spatiotemporal convolutions for action recognition"'
# Of torchvision's weights of Kinetics-400.
PREPROCESSING = Preprocessing(
    num_frames=16,
    fps=15.0,
    size=(112, 112),
    crop_share=0.875,  # 112 of 128
    mean=(0.43216, 0.394666, 0.37645),
    std=(0.22803, 0.22145, 0.216989),
)


def _figures(source: str, *, clip: float, video: float, form: str = "") -> tuple[Figure, Figure]:
    """Returns the accuracies of a video and of a clip; VMZ takes 10 clips of a video, torchvision 5."""
    if source == VMZ:
        of_video = of_clip = "10 clips x 1 crop of 16 frames, 112 x 112"
        source_of_clip = VMZ
    else:
        of_video = "5 clips x 1 crop of 16 frames at 15 fps, 112 x 112"
        of_clip, source_of_clip = "1 crop of clips of 16 frames, 112 x 112", "torchvision, pull request 1208"
    return (
        Figure("Kinetics-400", "video@1", video, of_video, source, form),
        Figure("Kinetics-400", "clip@1", clip, of_clip, source_of_clip, form),
    )


def _card(
    family: str,
    *,
    parameters: int,
    multiply_adds: int,
    figures: tuple[Figure, ...] = (),
    weights: tuple[str, str] | None = None,
    deviations: str = DEVIATIONS,
) -> Card:
    """Returns the card of a network of torchvision; `weights` are their name and the name of their file."""
    return Card(
        family,
        source=f"{_PAPER}; {TORCHVISION}",
        clip=(16, 112, 112),
        num_classes=400,
        parameters=parameters,
        multiply_adds=multiply_adds,
        cost_source=TORCHVISION if weights else "",
        figures=figures,
        deviations=deviations,
        torch_names=torch_names,
        weights=(_weights(*weights),) if weights else (),
    )


def _weights(name: str, file: str) -> Weights:
    address = f"https://download.pytorch.org/models/{file}"
    return Weights(f"torchvision:{name}", file, 400, "Kinetics-400", address, PREPROCESSING)


@described(
    _card(
        "R3D",
        parameters=33_371_472,
        multiply_adds=40_697_000_000,
        figures=(
            *_figures(TORCHVISION, clip=52.75, video=63.2),
            *_figures(VMZ, clip=52.9, video=64.7),
            Figure(
                "UCF101, split 1",
                "video@1",
                42.4,
                "clips of 16 frames, 112 x 112, from scratch",
                'Hara et al. 2018, "Can spatiotemporal 3D CNNs retrace the history of 2D CNNs and ImageNet?"',
                "a 3D ResNet-18 with a stem of 7 x 7 x 7 and a max pool",
            ),
        ),
        weights=("r3d_18", "r3d_18-b3b3357e.pth"),
    )
)
def r3d_18(num_classes: int, *, dropout: Dropout = 0.0, remat: Remat = False, dtype: DType = "float32") -> Network:
    """Returns R3D-18: 18 layers of 3D convolutions with shortcuts."""
    return SlowFusion(num_classes, _resnet(_ALL_3D, remat=remat, dtype=dtype), dropout)


@described(
    _card(
        "MC3",
        parameters=11_695_440,
        multiply_adds=43_343_000_000,
        figures=(*_figures(TORCHVISION, clip=53.9, video=63.96), *_figures(VMZ, clip=54.1, video=65.2)),
        weights=("mc3_18", "mc3_18-a90a0ba3.pth"),
    )
)
def mc3_18(num_classes: int, *, dropout: Dropout = 0.0, remat: Remat = False, dtype: DType = "float32") -> Network:
    """Returns MC3-18: R3D-18 with 2D convolutions in stages two to four, which keep the number of frames."""
    return SlowFusion(num_classes, _resnet(_MIXED, remat=remat, dtype=dtype), dropout)


@described(
    _card(
        "R(2+1)D",
        parameters=31_505_325,
        multiply_adds=40_519_000_000,
        figures=(
            *_figures(TORCHVISION, clip=57.5, video=67.463),
            *_figures(VMZ, clip=57.3, video=68.5, form="mid=paper; 33.3 M parameters and 41.5 G multiply-adds"),
        ),
        weights=("r2plus1d_18", "r2plus1d_18-91a641e6.pth"),
        deviations=f"{DEVIATIONS} With mid=paper, batch norms have an epsilon of 1e-5, not VMZ's 1e-3.",
    )
)
def r2plus1d_18(
    num_classes: int,
    *,
    mid: Mid = "torchvision",
    dropout: Dropout = 0.0,
    remat: Remat = False,
    dtype: DType = "float32",
) -> Network:
    """Returns R(2+1)D-18: R3D-18 with each 3D convolution factored into one over space and one over time.

    The paper's form (33.3 M parameters) is that of the authors' VMZ; torchvision's has 31.5 M, because the second
    convolution of a block that widens takes the first one's number of channels. The stem has 45 channels in both.
    """
    factored = {"torchvision": "block", "paper": "convolution"}[mid]
    backbone = _resnet(_ALL_3D, factored=factored, stem_between=45, remat=remat, dtype=dtype)
    return SlowFusion(num_classes, backbone, dropout)


@described(_card("R3D", parameters=63_681_104, multiply_adds=75_378_204_672))
def r3d_34(num_classes: int, *, dropout: Dropout = 0.0, remat: Remat = False, dtype: DType = "float32") -> Network:
    """Returns R3D-34: R3D with 3, 4, 6 and 3 blocks in its stages."""
    return SlowFusion(num_classes, _resnet(_ALL_3D, depths=_DEPTHS_OF_34, remat=remat, dtype=dtype), dropout)


@described(
    _card(
        "R3D",
        parameters=46_980_944,
        multiply_adds=54_672_588_800,
        deviations=f"{DEVIATIONS} torchvision has no name for this network: it is its VideoResNet with its Bottleneck.",
    )
)
def r3d_50(num_classes: int, *, dropout: Dropout = 0.0, remat: Remat = False, dtype: DType = "float32") -> Network:
    """Returns R3D-50: R3D-34 with bottleneck blocks.

    This is torchvision's `VideoResNet` with its `Bottleneck`, for which there are no published weights. It is not the
    3D ResNet-50 of Hara et al. 2018, whose stem has a kernel of 7 x 7 x 7 and a max pool.
    """
    backbone = _resnet(_ALL_3D, depths=_DEPTHS_OF_34, block="bottleneck", remat=remat, dtype=dtype)
    return SlowFusion(num_classes, backbone, dropout)


def _resnet(temporal: tuple[bool, ...], *, dtype: str, **fields: Any) -> ResNet:
    return ResNet(temporal, identity_start=False, dtype=DTYPES[dtype], **fields)
