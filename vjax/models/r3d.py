"""R3D, MC3 and R(2+1)D: residual networks over space and time, in the form of torchvision's published weights.

Each network is `SlowFusion` on a `ResNet`: an average over time and space and a linear layer follow the stages.
`torch_names` maps the names of its variables to those of torchvision's tensors.

Source: Tran et al. 2018, "A closer look at spatiotemporal convolutions for action recognition", and torchvision 0.29,
`models/video/resnet.py`. As there, the last norm of a block starts with a scale of one. Deviations: kernels are drawn
by the number of their inputs, not of their outputs; the classifier's kernel is drawn by LeCun's rule, not with a
deviation of 0.01; running variances average the biased variances of the batches.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from flax.traverse_util import flatten_dict

from vjax.models.arguments import DTYPES, Dropout, DType, Remat
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


def r3d_18(num_classes: int, *, dropout: Dropout = 0.0, remat: Remat = False, dtype: DType = "float32") -> Network:
    """Returns R3D-18: 18 layers of 3D convolutions with shortcuts."""
    return SlowFusion(num_classes, _resnet(_ALL_3D, remat=remat, dtype=dtype), dropout)


def mc3_18(num_classes: int, *, dropout: Dropout = 0.0, remat: Remat = False, dtype: DType = "float32") -> Network:
    """Returns MC3-18: R3D-18 with 2D convolutions in stages two to four, which keep the number of frames."""
    return SlowFusion(num_classes, _resnet(_MIXED, remat=remat, dtype=dtype), dropout)


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
    Deviation from VMZ: batch norms have an epsilon of 1e-5, not 1e-3.
    """
    factored = {"torchvision": "block", "paper": "convolution"}[mid]
    resnet = _resnet(_ALL_3D, factored=factored, stem_between=45, remat=remat, dtype=dtype)
    return SlowFusion(num_classes, resnet, dropout)


def r3d_34(num_classes: int, *, dropout: Dropout = 0.0, remat: Remat = False, dtype: DType = "float32") -> Network:
    """Returns R3D-34: R3D with 3, 4, 6 and 3 blocks in its stages."""
    return SlowFusion(num_classes, _resnet(_ALL_3D, depths=_DEPTHS_OF_34, remat=remat, dtype=dtype), dropout)


def r3d_50(num_classes: int, *, dropout: Dropout = 0.0, remat: Remat = False, dtype: DType = "float32") -> Network:
    """Returns R3D-50: R3D-34 with bottleneck blocks.

    This is torchvision's `VideoResNet` with its `Bottleneck`, for which there are no published weights. It is not the
    3D ResNet-50 of Hara et al. 2018, whose stem has a kernel of 7 x 7 x 7 and a max pool.
    """
    resnet = _resnet(_ALL_3D, depths=_DEPTHS_OF_34, block="bottleneck", remat=remat, dtype=dtype)
    return SlowFusion(num_classes, resnet, dropout)


def torch_names(variables: Mapping[str, Any]) -> dict[str, str]:
    """Returns torchvision's name of each variable of a network of this file.

    The keys are paths such as "params/backbone/BasicBlock_0/Conv_0/kernel", the values names in torchvision's state
    dict such as "layer1.0.conv1.0.weight". Its `num_batches_tracked` have no counterpart.

    Args:
      variables: the network's variables, `{"params": ..., "batch_stats": ...}`; arrays or shapes.
    """
    modules = {f"backbone/{ours}": theirs for ours, theirs in _module_names(variables["params"]["backbone"]).items()}
    modules["head/logits"] = "fc"
    return {
        "/".join([collection, *module, leaf]): f"{modules['/'.join(module)]}.{_LEAVES[leaf]}"
        for collection, *module, leaf in flatten_dict(variables)
    }


_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
# Items of the sequence that a factored convolution is in torchvision; item 2 is the ReLU.
_FACTORS = {"Conv_0": 0, "BatchNorm_0": 1, "Conv_1": 3}


def _module_names(backbone: Mapping[str, Any]) -> dict[str, str]:
    """Returns torchvision's name of each module of a ResNet that has variables."""
    # The stem.
    conv = "FactoredConv" if "FactoredConv_0" in backbone else "Conv"
    factored = conv == "FactoredConv"
    names = _conv_names("FactoredConv_0", "stem") if factored else {"Conv_0": "stem.0"}
    names["BatchNorm_0"] = "stem.4" if factored else "stem.1"

    # The blocks, in the order of their numbers.
    stage, index = 1, 0
    blocks = [name for name in backbone if name.startswith(("BasicBlock_", "Bottleneck_"))]
    for number, block in enumerate(sorted(blocks, key=lambda name: int(name.rpartition("_")[2]))):
        num_convs = 3 if block.startswith("Bottleneck_") else 2
        # A stage begins with a projected shortcut; only the first stage may do without.
        if number > 0 and f"BatchNorm_{num_convs}" in backbone[block]:
            stage, index = stage + 1, 0
        layer = f"layer{stage}.{index}"
        for place in range(num_convs):
            ours, theirs = f"{block}/{conv}_{place}", f"{layer}.conv{place + 1}"
            names |= _conv_names(ours, f"{theirs}.0") if factored else {ours: f"{theirs}.0"}
            names[f"{block}/BatchNorm_{place}"] = f"{theirs}.1"
        names[f"{block}/Conv_{0 if factored else num_convs}"] = f"{layer}.downsample.0"
        names[f"{block}/BatchNorm_{num_convs}"] = f"{layer}.downsample.1"
        index += 1
    return names


def _conv_names(ours: str, theirs: str) -> dict[str, str]:
    """Returns the names of the parts of a factored convolution."""
    return {f"{ours}/{part}": f"{theirs}.{item}" for part, item in _FACTORS.items()}


def _resnet(temporal: tuple[bool, ...], *, dtype: str, **fields: Any) -> ResNet:
    return ResNet(temporal, identity_start=False, dtype=DTYPES[dtype], **fields)
