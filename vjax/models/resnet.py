"""Residual networks on clips: the `resnet18` backbone and the published R3D, MC3 and R(2+1)D are made of them."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from vjax.errors import InputError
from vjax.layers.conv import Conv
from vjax.layers.conv_forms import Triple
from vjax.layers.norm import norm_layer
from vjax.models.card import TORCH_LEAVES
from vjax.models.checks import check_rate, check_size, check_widths


class ResNet(nn.Module):
    """A stem of stride 1 x 2 x 2 without max pool, and stages of residual blocks.

    Every stage but the first halves space, and also time if it is temporal.

    Source: Tran et al. 2018, "A closer look at spatiotemporal convolutions for action recognition".

    Source of `drop_path`: Huang et al. 2016, "Deep networks with stochastic depth", with their linear rule. Deviations:
    each row has its own draw, not one for the batch; kept branches are scaled up in training, not down at test time.

    Attributes:
      temporal: whether kernels and strides also cover time; one value for the stem, then one for each stage.
      widths: channels of each stage; a bottleneck block puts out four times as many.
      depths: number of blocks of each stage.
      block: kind of the blocks, "basic" or "bottleneck".
      factored: whether each space-time kernel is split into one over space and, after a norm and a ReLU, one over time:
        "" for no. Otherwise the number of channels between the two is computed from the channels before and after the
        "convolution", or before and after its "block".
      stem_between: number of channels between the two convolutions of a factored stem; None computes it.
      norm: kind of the norm layers, "batch" or "group".
      identity_start: whether every block starts as the identity: the scale of its last norm is then zero at first.
      drop_path: probability, in [0, 1), that training skips the residual branch of the last block; for block l of L it
        is multiplied by l / L. Every row of the input has its own draw, from the key "dropout".
      remat: whether the backward pass recomputes the inside of a stage instead of keeping it in memory.
      dtype: dtype of the computation; parameters and norm statistics stay float32.
    """

    temporal: tuple[bool, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    depths: tuple[int, ...] = (2, 2, 2, 2)
    block: Literal["basic", "bottleneck"] = "basic"
    factored: Literal["", "convolution", "block"] = ""
    stem_between: int | None = None
    norm: Literal["batch", "group"] = "batch"
    identity_start: bool = True
    drop_path: float = 0.0
    remat: bool = False
    dtype: Any = jnp.float32

    def __post_init__(self):
        check_widths(self.widths, what="a ResNet")
        if not len(self.widths) == len(self.depths) == len(self.temporal) - 1:
            raise InputError(
                f"a ResNet of {len(self.widths)} widths needs as many depths, and one value of temporal more; got "
                f"depths {self.depths} and temporal {self.temporal}"
            )
        check_rate(self.drop_path, what="a ResNet's drop_path")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b t h w c)` to `(b t' h' w' d)`; sizes that are halved are rounded up."""
        check_size(x, min_frames=1, min_size=1, what="a ResNet")
        norm = norm_layer(self.norm, train=train, dtype=self.dtype)
        stem = self._conv(norm, temporal=self.temporal[0], between=self.stem_between)
        x = nn.relu(norm()(stem(self.widths[0], (3 if self.temporal[0] else 1, 7, 7), (1, 2, 2))(x)))
        run = nn.remat(ResNet._stage, static_argnums=(2, 3, 4)) if self.remat and train else ResNet._stage
        for stage in range(len(self.widths)):
            x = run(self, x, stage, norm, self.drop_path if train else 0.0)
        return x

    def _stage(self, x: jax.Array, stage: int, norm: Callable[..., nn.Module], drop_path: float) -> jax.Array:
        width, temporal = self.widths[stage], self.temporal[stage + 1]
        for index in range(self.depths[stage]):
            between = equal_width((3, 3, 3), x.shape[-1], width) if self.factored == "block" else None
            x = BLOCKS[self.block](
                width,
                stride=2 if stage > 0 and index == 0 else 1,
                temporal=temporal,
                conv=self._conv(norm, temporal=temporal, between=between),
                norm=norm,
                identity_start=self.identity_start,
                drop_path=drop_path * (sum(self.depths[:stage]) + index + 1) / sum(self.depths),
                dtype=self.dtype,
            )(x)
        return x

    def _conv(self, norm: Callable[..., nn.Module], *, temporal: bool, between: int | None) -> Callable[..., nn.Module]:
        if self.factored and temporal:
            return functools.partial(FactoredConv, norm=norm, between=between, dtype=self.dtype)
        return functools.partial(Conv, dtype=self.dtype)


class Block(nn.Module):
    """The base class of the residual blocks: convolutions and a shortcut, which is projected if the shape changes.

    Source: He et al. 2016, "Deep residual learning for image recognition".

    Attributes:
      features: width of the block.
      stride: stride over space, and over time if temporal.
      temporal: whether kernels and strides also cover time.
      conv: constructor of the convolutions over space and time.
      norm: constructor of the norms.
      identity_start: whether the last norm's scale starts at zero, so that the block starts as the identity (Goyal et
        al. 2017, "Accurate, large minibatch SGD").
      drop_path: probability that a row skips the convolutions in this call; 0 outside training.
      dtype: dtype of the computation.
    """

    features: int
    stride: int
    temporal: bool
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    identity_start: bool = True
    drop_path: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(b t h w c)` to `(b t' h' w' d)`."""
        strides = cover(self.stride, temporal=self.temporal)
        scale_init = nn.initializers.zeros if self.identity_start else nn.initializers.ones
        y = self.branch(x, strides, functools.partial(self.norm, scale_init=scale_init))
        # One draw per row: all its values are dropped or kept together.
        y = nn.Dropout(self.drop_path, broadcast_dims=(1, 2, 3, 4), deterministic=False)(y)
        if self.stride != 1 or x.shape[-1] != y.shape[-1]:
            x = self.norm()(Conv(y.shape[-1], (1, 1, 1), strides, dtype=self.dtype)(x))
        return nn.relu(x + y)

    def branch(self, x: jax.Array, strides: Triple, last_norm: Callable[..., nn.Module]) -> jax.Array:
        """Returns the residual branch, which ends with `last_norm`."""
        raise NotImplementedError


class BasicBlock(Block):
    """Two convolutions over space and time, and a shortcut."""

    def branch(self, x: jax.Array, strides: Triple, last_norm: Callable[..., nn.Module]) -> jax.Array:
        """Maps `(b t h w c)` to `(b t' h' w' features)`."""
        kernel = cover(3, temporal=self.temporal)
        y = nn.relu(self.norm()(self.conv(self.features, kernel, strides)(x)))
        return last_norm()(self.conv(self.features, kernel, (1, 1, 1))(y))


class Bottleneck(Block):
    """A convolution over space and time between two of size 1, and a shortcut; the output is four times as wide.

    Attributes:
      frames: number of frames that the first convolution covers.
    """

    frames: int = 1

    def branch(self, x: jax.Array, strides: Triple, last_norm: Callable[..., nn.Module]) -> jax.Array:
        """Maps `(b t h w c)` to `(b t' h' w' 4*features)`."""
        y = nn.relu(self.norm()(Conv(self.features, (self.frames, 1, 1), dtype=self.dtype)(x)))
        y = nn.relu(self.norm()(self.conv(self.features, cover(3, temporal=self.temporal), strides)(y)))
        return last_norm()(Conv(4 * self.features, (1, 1, 1), dtype=self.dtype)(y))


BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}


class FactoredConv(nn.Module):
    """A convolution over space, a norm, a ReLU and a convolution over time, instead of one convolution over both.

    Source: Tran et al. 2018, R(2+1)D, section 3.5.

    Attributes:
      between: number of channels between the two; None for `equal_width`.
    """

    features: int
    kernel_size: Triple
    strides: Triple
    norm: Callable[..., nn.Module]
    between: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(b t h w c)` to `(b t' h' w' features)`."""
        time, height, width = self.kernel_size
        between = self.between or equal_width(self.kernel_size, x.shape[-1], self.features)
        x = Conv(between, (1, height, width), (1, *self.strides[1:]), dtype=self.dtype)(x)
        return Conv(self.features, (time, 1, 1), (self.strides[0], 1, 1), dtype=self.dtype)(nn.relu(self.norm()(x)))


def equal_width(kernel_size: Triple, channels: int, features: int) -> int:
    """Returns the channels between two factored convolutions that have about the parameters of the one they replace."""
    time, height, width = kernel_size
    return time * height * width * channels * features // (height * width * channels + time * features)


def cover(size: int, *, temporal: bool) -> Triple:
    """Returns a size over space, and over time if temporal; otherwise it is 1 over time."""
    return (size if temporal else 1, size, size)


def torch_names(variables: Mapping[str, Any]) -> dict[str, str]:
    """Returns the name that torchvision's video networks give to each variable of a ResNet.

    The keys are paths such as "params/BasicBlock_0/Conv_0/kernel", the values names in torchvision's state dict such as
    "layer1.0.conv1.0.weight". Its `num_batches_tracked` have no counterpart.

    Args:
      variables: variables of the ResNet, `{"params": ..., "batch_stats": ...}`; arrays or shapes.
    """
    modules = _module_names(variables["params"])
    return {
        "/".join([collection, *module, leaf]): f"{modules['/'.join(module)]}.{TORCH_LEAVES[leaf]}"
        for collection, *module, leaf in flatten_dict(variables)
    }


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
        # A projected shortcut begins a stage; the first stage can begin without one.
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
