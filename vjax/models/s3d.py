"""S3D, an Inception network whose 3D convolutions are split into one over space and one over time.

Source: Xie et al. 2018, "Rethinking spatiotemporal feature learning: speed-accuracy trade-offs in video
classification", in the form of torchvision 0.29, `models/video/s3d.py`: S3D without the paper's feature gating, with
norms that have an epsilon of 1e-3. `torch_names` maps the names of its variables to those of torchvision's tensors.

Deviations: those on the card.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from vjax.layers.conv import Conv
from vjax.layers.conv_forms import Triple
from vjax.layers.norm import BatchNorm
from vjax.layers.pool import average_windows, max_pool, overlapping_max_pool
from vjax.models.arguments import DTYPES, Dropout, DType
from vjax.models.card import TORCH_LEAVES, Card, Figure, Weights, described
from vjax.models.checks import check_size
from vjax.models.fusion import Head, Network, check_rank
from vjax.models.r3d import PREPROCESSING
from vjax.models.resnet import FactoredConv, cover

# Channels of the four branches of each mixed block. Two branches have a convolution of size 1 before the larger one.
MIXED = {
    "mixed3b": (64, (96, 128), (16, 32), 32),
    "mixed3c": (128, (128, 192), (32, 96), 64),
    "mixed4b": (192, (96, 208), (16, 48), 64),
    "mixed4c": (160, (112, 224), (24, 64), 64),
    "mixed4d": (128, (128, 256), (24, 64), 64),
    "mixed4e": (112, (144, 288), (32, 64), 64),
    "mixed4f": (256, (160, 320), (32, 128), 128),
    "mixed5b": (256, (160, 320), (32, 128), 128),
    "mixed5c": (384, (192, 384), (48, 128), 128),
}


def torch_names(variables: Mapping[str, Any]) -> dict[str, str]:
    """Returns torchvision's name of each variable of S3D.

    The keys are paths such as "params/backbone/conv2b/Conv_0/kernel", the values names in torchvision's state dict such
    as "features.2.0.weight". Its `num_batches_tracked` have no counterpart.

    Args:
      variables: the network's variables, `{"params": ..., "batch_stats": ...}`; arrays or shapes.
    """
    return {"/".join(path): _torch_name(path) for path in flatten_dict(variables)}


# Places in torchvision's sequence of layers, whose places 1, 4, 7 and 13 are pools.
_PLACES = {"conv1a": 0, "conv2b": 2, "conv2c": 3} | dict(zip(MIXED, (5, 6, 8, 9, 10, 11, 12, 14, 15), strict=True))
_BRANCHES = {
    "branch0": "branch0",
    "branch1a": "branch1.0",
    "branch1b": "branch1.1",
    "branch2a": "branch2.0",
    "branch2b": "branch2.1",
    "branch3": "branch3.1",
}
# Layers of a unit: of a split one, and of one with a convolution of size 1.
_SPLIT = {"FactoredConv_0/Conv_0": "0.0", "FactoredConv_0/BatchNorm_0": "0.1", "FactoredConv_0/Conv_1": "1.0"}
_LAYERS = {True: _SPLIT | {"BatchNorm_0": "1.1"}, False: {"Conv_0": "0", "BatchNorm_0": "1"}}


def _torch_name(path: tuple[str, ...]) -> str:
    _, part, layer, *rest, leaf = path
    if part == "head":
        return f"classifier.1.{TORCH_LEAVES[leaf]}"
    branch = [rest.pop(0)] if layer in MIXED else []
    split = layer in ("conv1a", "conv2c") or branch in (["branch1b"], ["branch2b"])
    names = [
        str(_PLACES[layer]),
        *(_BRANCHES[name] for name in branch),
        _LAYERS[split]["/".join(rest)],
        TORCH_LEAVES[leaf],
    ]
    return ".".join(["features", *names])


_CARD = Card(
    "S3D",
    source='Xie et al. 2018, "Rethinking spatiotemporal feature learning"; torchvision 0.29, models/video/s3d.py',
    clip=(16, 224, 224),  # torchvision counts multiply-adds for these clips; the weights take 128 frames
    num_classes=400,
    parameters=8_320_048,
    multiply_adds=17_979_000_000,
    cost_source="torchvision 0.29, S3D_Weights",
    figures=(
        Figure(
            "Kinetics-400",
            "clip@1",
            68.368,
            "1 clip of 128 frames at 15 fps, 224 x 224 of 256 x 256",
            "torchvision 0.29, S3D_Weights",
        ),
    ),
    deviations=(
        "The average pool is at most as large as the last map, so shorter clips and smaller frames are allowed than in "
        "torchvision, which asks for 14 frames of 224 x 224; running statistics keep 0.9 of themselves in a step, not "
        "0.999, and average the biased variances of the batches; kernels are drawn by the number of their inputs, the "
        "classifier's by LeCun's rule. torchvision's preprocessing resizes frames to 256 x 256, whatever their shape; "
        "that of vjax keeps the shape of a pixel."
    ),
    torch_names=torch_names,
    torch_convolutions=("classifier.1.weight",),
    weights=(
        Weights(
            "torchvision:s3d",
            "s3d-d76dad2f.pth",
            num_classes=400,
            dataset="Kinetics-400",
            source="https://download.pytorch.org/models/s3d-d76dad2f.pth",
            # The share of the crop is the same: 224 of 256.
            preprocessing=dataclasses.replace(PREPROCESSING, num_frames=128, size=(224, 224)),
        ),
    ),
)


@described(_CARD)
def s3d(num_classes: int, *, dropout: Dropout = 0.2, dtype: DType = "float32") -> Network:
    """Returns S3D, an Inception network of separable 3D convolutions; published on clips of 128 frames of 224 x 224."""
    return S3D(num_classes, S3DBackbone(DTYPES[dtype]), dropout)


class S3D(Network):
    """S3D: its backbone, an average pool, and a linear layer whose logits are averaged.

    Attributes:
      window: window of the average pool, whose strides are 1.
    """

    window: Triple = (2, 7, 7)

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b t h w c)` to logits `(b 1 k)`."""
        check_rank(clips)
        features = average_windows(self.backbone(clips, train=train), self.window)
        features = features.reshape(clips.shape[0], -1, features.shape[-1])
        # Dropout draws for each window, so the mean follows it.
        logits = Head(self.num_classes, self.dropout, name="head")(features, train=train)
        return logits.mean(1, keepdims=True)


class S3DBackbone(nn.Module):
    """The layers of S3D before its average pool.

    Attributes:
      dtype: dtype of the computation; parameters and norm statistics stay float32.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b t h w c)` to `(b t/8 h/32 w/32 1024)`; the last pool rounds sizes down, all others round up.

        Raises:
          InputError: clips have fewer than 5 frames, or frames of less than 17 x 17.
        """
        # The last pool needs two positions along each axis.
        check_size(clips, min_frames=5, min_size=17, what="s3d")
        unit = functools.partial(Unit, train=train, dtype=self.dtype)

        def mixed(x: jax.Array, *names: str) -> jax.Array:
            for name in names:
                x = Mixed(MIXED[name], train, self.dtype, name=name)(x)
            return x

        x = unit(64, 7, 2, name="conv1a")(clips)
        x = unit(64, 1, name="conv2b")(overlapping_max_pool(x, (1, 3, 3), (1, 2, 2)))
        x = unit(192, 3, name="conv2c")(x)
        x = mixed(overlapping_max_pool(x, (1, 3, 3), (1, 2, 2)), "mixed3b", "mixed3c")
        x = overlapping_max_pool(x, (3, 3, 3), (2, 2, 2))
        x = mixed(x, "mixed4b", "mixed4c", "mixed4d", "mixed4e", "mixed4f")
        return mixed(max_pool(x, (2, 2, 2)), "mixed5b", "mixed5c")


class Mixed(nn.Module):
    """An Inception block: four branches, which are concatenated.

    Source: Szegedy et al. 2015, "Going deeper with convolutions".

    Attributes:
      widths: channels of the branches; pairs for those with a convolution of size 1 before the larger one.
      train: whether the norms use the statistics of the batch.
      dtype: dtype of the computation.
    """

    widths: tuple[int, tuple[int, int], tuple[int, int], int]
    train: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(b t h w c)` to `(b t h w d)`, d being the sum of the widths of the branches."""
        unit = functools.partial(Unit, train=self.train, dtype=self.dtype)
        first, second, third, fourth = self.widths
        branches = [
            unit(first, 1, name="branch0")(x),
            unit(second[1], 3, name="branch1b")(unit(second[0], 1, name="branch1a")(x)),
            unit(third[1], 3, name="branch2b")(unit(third[0], 1, name="branch2a")(x)),
            unit(fourth, 1, name="branch3")(overlapping_max_pool(x, (3, 3, 3), (1, 1, 1))),
        ]
        return jnp.concatenate(branches, axis=-1)


class Unit(nn.Module):
    """A convolution, a norm and a ReLU; a convolution larger than 1 is split, with a norm and a ReLU between.

    Attributes:
      features: number of output channels.
      size: size of the kernel along all axes.
      stride: stride along all axes.
      train: whether the norms use the statistics of the batch.
      dtype: dtype of the computation.
    """

    features: int
    size: int
    stride: int = 1
    _: dataclasses.KW_ONLY
    train: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(b t h w c)` to `(b t' h' w' features)`."""
        norm = functools.partial(BatchNorm, train=self.train, dtype=self.dtype, epsilon=1e-3)
        kernel, strides = cover(self.size, temporal=True), cover(self.stride, temporal=True)
        if self.size == 1:
            conv = Conv(self.features, kernel, strides, dtype=self.dtype)
        else:
            conv = FactoredConv(self.features, kernel, strides, norm, between=self.features, dtype=self.dtype)
        return nn.relu(norm()(conv(x)))
