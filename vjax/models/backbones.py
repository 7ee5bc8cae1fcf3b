"""Backbones: clips `(b t h w c)` to features `(b t' h' w' d)`, in 2D (frame by frame) or 3D, from one description.

A backbone is 3D if `temporal` is true: its kernels and strides then cover time as well as space. Otherwise every kernel
is one frame deep and the number of frames is kept. Nothing else differs, so networks with the same description of their
backbone can be compared.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from vjax.errors import InputError
from vjax.layers.conv import Conv
from vjax.layers.conv_forms import Triple
from vjax.layers.norm import NO_POOL, norm_layer
from vjax.spec import Table


class SmallBackbone(nn.Module):
    """Stages of convolutions (3 wide), each with a norm and a ReLU; a max pool of 2 ends every stage.

    Attributes:
      temporal: whether kernels (of size 3) and pools (of size 2) also cover time.
      widths: channels of each stage.
      depth: number of convolutions per stage; one number for all stages, or one for each.
      norm: kind of the norm layers, "batch" or "group".
      remat: whether the backward pass recomputes the inside of a stage instead of keeping it in memory.
      dtype: dtype of the computation; parameters and norm statistics stay float32.
    """

    temporal: bool
    widths: tuple[int, ...] = (16, 32, 64)
    depth: int | tuple[int, ...] = 1
    norm: Literal["batch", "group"] = "batch"
    remat: bool = False
    dtype: Any = jnp.float32

    def __post_init__(self):
        check_widths(self.widths, what="the small backbone")
        if len(self.depths) != len(self.widths):
            raise InputError(
                f"the small backbone has {len(self.widths)} widths but {len(self.depths)} depths: {self.depth}"
            )
        if min(self.depths) < 1:
            raise InputError(f"the small backbone needs a depth of 1 or more in every stage, got {self.depth}")
        super().__post_init__()

    @property
    def depths(self) -> Sequence[int]:
        """The number of convolutions in each stage."""
        return [self.depth] * len(self.widths) if isinstance(self.depth, int) else self.depth

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b t h w c)` to `(b t' h' w' d)`; every stage halves h and w, and t if temporal."""
        smallest = 2 ** len(self.widths)
        check_size(x, min_frames=smallest if self.temporal else 1, min_size=smallest, what="the small backbone")
        norm = norm_layer(self.norm, train=train, dtype=self.dtype)
        run = nn.remat(SmallBackbone._stage, static_argnums=(2, 3, 4)) if self.remat and train else SmallBackbone._stage
        for width, depth in zip(self.widths, self.depths, strict=True):
            x = run(self, x, width, depth, norm)
        return x

    def _stage(self, x: jax.Array, width: int, depth: int, norm: Callable[..., nn.Module]) -> jax.Array:
        for index in range(depth):
            # The pool comes before the ReLU: the result is the same, and the ReLU has an eighth (2D: a quarter) to do.
            pool = _reach(2, temporal=self.temporal) if index == depth - 1 else NO_POOL
            x = nn.relu(norm(pool=pool)(Conv(width, _reach(3, temporal=self.temporal), dtype=self.dtype)(x)))
        return x


class ResNet18(nn.Module):
    """ResNet-18: R3D-18 or R(2+1)D-18 if temporal, otherwise the same network on single frames.

    Source: Tran et al. 2018, "A closer look at spatiotemporal convolutions for action recognition" (R3D, R(2+1)D; R2D
    and f-R2D on frames): a stem of stride 1 x 2 x 2 without max pool; stages two to four halve time and space.

    Source of `drop_path`: Huang et al. 2016, "Deep networks with stochastic depth", with their linear rule. Deviations:
    each row has its own draw, not one for the batch; kept branches are scaled up in training, not down at test time.

    Attributes:
      temporal: whether kernels, and the strides of stages two to four, also cover time.
      factored: whether each space-time kernel is split into one over space and, after a norm and a ReLU, one over time,
        as in R(2+1)D; has no effect if temporal is false.
      widths: channels of each stage; ResNet-18 has four stages.
      norm: kind of the norm layers, "batch" or "group".
      drop_path: probability, in [0, 1), that training skips the residual branch of the last block; for block l of L it
        is multiplied by l / L. Every row of the input has its own draw, from the key "dropout"; a row is a clip, or a
        frame if a 2D network passes every frame as its own clip.
      remat: whether the backward pass recomputes the inside of a stage (two blocks) instead of keeping it in memory.
      dtype: dtype of the computation; parameters and norm statistics stay float32.
    """

    temporal: bool
    factored: bool = False
    widths: tuple[int, ...] = (64, 128, 256, 512)
    norm: Literal["batch", "group"] = "batch"
    drop_path: float = 0.0
    remat: bool = False
    dtype: Any = jnp.float32

    def __post_init__(self):
        check_widths(self.widths, what="the resnet18 backbone")
        check_rate(self.drop_path, what="the resnet18 backbone's drop_path")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b t h w c)` to `(b t' h' w' d)`: h and w divided by 16, and t by 8 if temporal, rounded up."""
        check_size(x, min_frames=1, min_size=1, what="the resnet18 backbone")
        norm = norm_layer(self.norm, train=train, dtype=self.dtype)
        conv: Callable[..., nn.Module] = functools.partial(Conv, dtype=self.dtype)
        if self.factored and self.temporal:
            conv = functools.partial(FactoredConv, norm=norm, dtype=self.dtype)
        x = nn.relu(norm()(conv(self.widths[0], (3 if self.temporal else 1, 7, 7), (1, 2, 2))(x)))
        run = nn.remat(ResNet18._stage, static_argnums=(2, 3, 4, 5)) if self.remat and train else ResNet18._stage
        for stage in range(len(self.widths)):
            x = run(self, x, stage, conv, norm, self.drop_path if train else 0.0)
        return x

    def _stage(
        self,
        x: jax.Array,
        stage: int,
        conv: Callable[..., nn.Module],
        norm: Callable[..., nn.Module],
        drop_path: float,
    ) -> jax.Array:
        for block in (2 * stage, 2 * stage + 1):
            x = BasicBlock(
                self.widths[stage],
                stride=2 if stage > 0 and block % 2 == 0 else 1,
                temporal=self.temporal,
                conv=conv,
                norm=norm,
                drop_path=drop_path * (block + 1) / (2 * len(self.widths)),
                dtype=self.dtype,
            )(x)
        return x


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut, which is projected if the shape changes.

    Source: He et al. 2016, "Deep residual learning for image recognition".

    Attributes:
      drop_path: probability that a row skips the convolutions in this call; 0 outside training.
    """

    features: int
    stride: int
    temporal: bool
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    drop_path: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(b t h w c)` to `(b t' h' w' features)`."""
        kernel = _reach(3, temporal=self.temporal)
        strides = _reach(self.stride, temporal=self.temporal)
        y = nn.relu(self.norm()(self.conv(self.features, kernel, strides)(x)))
        # The last norm's scale starts at zero, so every block starts as the identity (Goyal et al. 2017).
        y = self.norm(scale_init=nn.initializers.zeros)(self.conv(self.features, kernel, (1, 1, 1))(y))
        # One draw per row: all its values are dropped or kept together.
        y = nn.Dropout(self.drop_path, broadcast_dims=(1, 2, 3, 4), deterministic=False)(y)
        if self.stride != 1 or x.shape[-1] != self.features:
            x = self.norm()(Conv(self.features, (1, 1, 1), strides, dtype=self.dtype)(x))
        return nn.relu(x + y)


class FactoredConv(nn.Module):
    """A convolution over space, a norm, a ReLU and a convolution over time, instead of one convolution over both.

    The width between them gives about the parameters of that one convolution.

    Source: Tran et al. 2018, R(2+1)D, section 3.5. The stem follows the same rule.
    """

    features: int
    kernel_size: Triple
    strides: Triple
    norm: Callable[..., nn.Module]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(b t h w c)` to `(b t' h' w' features)`."""
        time, height, width = self.kernel_size
        area, channels = height * width, x.shape[-1]
        between = time * area * channels * self.features // (area * channels + time * self.features)
        x = Conv(between, (1, height, width), (1, *self.strides[1:]), dtype=self.dtype)(x)
        return Conv(self.features, (time, 1, 1), (self.strides[0], 1, 1), dtype=self.dtype)(nn.relu(self.norm()(x)))


BACKBONES: Table[nn.Module] = Table(
    {"small": SmallBackbone, "resnet18": ResNet18}, given=("temporal", "dtype", "parent", "name")
)


def check_widths(widths: Sequence[int], *, what: str) -> None:
    """Raises an InputError if a backbone has no stages or a stage has no channels."""
    if not widths or min(widths) < 1:
        raise InputError(
            f"{what} needs a width of 1 or more for each of its stages, and one stage or more; got {widths}"
        )


def check_rate(rate: float, *, what: str) -> None:
    """Raises an InputError if a dropout or drop-path rate is not in [0, 1)."""
    if not 0 <= rate < 1:
        raise InputError(f"{what} is a probability from 0 to below 1, got {rate}")


def check_size(x: jax.Array, *, min_frames: int, min_size: int, what: str) -> None:
    """Raises an InputError if clips `(b t h w c)` have too few frames or too small frames for a network."""
    num_frames, height, width = x.shape[1:4]
    if num_frames < min_frames:
        raise InputError(f"{what} needs clips of at least {min_frames} frames, got {num_frames}")
    if min(height, width) < min_size:
        raise InputError(f"{what} needs frames of at least {min_size} x {min_size}, got {height} x {width}")


def _reach(size: int, *, temporal: bool) -> Triple:
    return (size if temporal else 1, size, size)
