"""Backbones: clips `(b t h w c)` to features `(b t' h' w' d)`, in 2D (frame by frame) or 3D, from one description.

A backbone is 3D if `temporal` is true: its kernels and strides then cover time as well as space. Otherwise every kernel
is one frame deep and the number of frames is kept. Nothing else differs, so networks with the same description of their
backbone can be compared.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from vjax.errors import InputError
from vjax.layers.conv import Conv
from vjax.layers.norm import NO_POOL, norm_layer
from vjax.models.card import Card, described
from vjax.models.checks import check_size, check_widths
from vjax.models.efficientnet import efficientnet_lite0
from vjax.models.resnet import ResNet, cover, torch_names
from vjax.spec import Table


@described(
    Card("small", source="vjax", clip=(1, 112, 112), num_classes=400, parameters=49_696, multiply_adds=34_345_984)
)
class SmallBackbone(nn.Module):
    """Stages of convolutions (3 wide), each with a norm and a ReLU; a max pool ends every stage.

    Attributes:
      temporal: whether kernels (of size 3) and pools also cover time.
      widths: channels of each stage.
      depth: number of convolutions per stage; one number for all stages, or one for each.
      pool: size of the max pool of each stage, 1 for none; one number for all stages, or one for each.
      norm: kind of the norm layers, "batch", "group" or "none".
      stride: stride over space of the first convolution; 2 takes about a third of the time.
      remat: whether the backward pass recomputes the inside of a stage instead of keeping it in memory.
      dtype: dtype of the computation; parameters and norm statistics stay float32.
    """

    temporal: bool
    widths: tuple[int, ...] = (16, 32, 64)
    depth: int | tuple[int, ...] = 1
    pool: int | tuple[int, ...] = 2
    norm: Literal["batch", "group", "none"] = "batch"
    stride: int = 1
    remat: bool = False
    dtype: Any = jnp.float32

    def __post_init__(self):
        check_widths(self.widths, what="the small backbone")
        for what, given, numbers in (("depth", self.depth, self.depths), ("pool", self.pool, self.pools)):
            if len(numbers) != len(self.widths):
                raise InputError(
                    f"the small backbone has {len(self.widths)} widths, and needs one {what} for all stages or one for "
                    f"each; got {given}"
                )
            if min(numbers) < 1:
                raise InputError(f"the small backbone needs a {what} of 1 or more in every stage, got {given}")
        if self.stride < 1:
            raise InputError(f"the small backbone needs a stride of 1 or more, got {self.stride}")
        super().__post_init__()

    @property
    def depths(self) -> Sequence[int]:
        """The number of convolutions in each stage."""
        return _of_each_stage(self.depth, self.widths)

    @property
    def pools(self) -> Sequence[int]:
        """The size of the max pool of each stage."""
        return _of_each_stage(self.pool, self.widths)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b t h w c)` to `(b t' h' w' d)`: the pool of a stage divides h and w, and t if temporal.

        The stride divides h and w at the start.
        """
        smallest = math.prod(self.pools)
        check_size(
            x,
            min_frames=smallest if self.temporal else 1,
            min_size=smallest * self.stride,
            what="the small backbone",
        )
        norm = norm_layer(self.norm, train=train, dtype=self.dtype)
        run = (
            nn.remat(SmallBackbone._stage, static_argnums=(2, 3, 4, 5, 6))
            if self.remat and train
            else SmallBackbone._stage
        )
        stride = self.stride
        for width, depth, pool in zip(self.widths, self.depths, self.pools, strict=True):
            x = run(self, x, width, depth, pool, norm, stride)
            stride = 1
        return x

    def _stage(
        self, x: jax.Array, width: int, depth: int, pool: int, norm: Callable[..., nn.Module], stride: int
    ) -> jax.Array:
        for index in range(depth):
            # The pool comes before the ReLU: the result is the same, and the ReLU has an eighth (2D: a quarter) to do.
            window = cover(pool, temporal=self.temporal) if index == depth - 1 else NO_POOL
            strides = (1, stride, stride) if index == 0 else (1, 1, 1)
            x = Conv(width, cover(3, temporal=self.temporal), strides, dtype=self.dtype)(x)
            x = nn.relu(norm(pool=window)(x))
        return x


def _of_each_stage(numbers: int | Sequence[int], widths: Sequence[int]) -> Sequence[int]:
    return [numbers] * len(widths) if isinstance(numbers, int) else numbers


@described(
    Card(
        "ResNet",
        source='Tran et al. 2018, "A closer look at spatiotemporal convolutions for action recognition"',
        clip=(1, 112, 112),
        num_classes=400,
        parameters=11_381_712,
        multiply_adds=1_725_255_680,
        deviations="Every block starts as the identity. The stem of R(2+1)D follows the same rule as the other "
        "convolutions, and has 83 channels between its two kernels, not 45.",
        torch_names=torch_names,
    )
)
def resnet18(
    *,
    temporal: bool,
    factored: bool = False,
    widths: tuple[int, ...] = (64, 128, 256, 512),
    norm: Literal["batch", "group"] = "batch",
    drop_path: float = 0.0,
    remat: bool = False,
    dtype: Any = jnp.float32,
) -> ResNet:
    """ResNet-18: the backbone of R3D-18 or R(2+1)D-18 if temporal, otherwise the same network on single frames.

    It gives features `(b t' h' w' d)`: h and w divided by 16, and t by 8 if temporal, rounded up.

    Source: Tran et al. 2018, "A closer look at spatiotemporal convolutions for action recognition" (R3D, R(2+1)D; R2D
    and f-R2D on frames). The card has the deviations.

    Args:
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
    return ResNet(
        temporal=(temporal,) * (1 + len(widths)),
        widths=widths,
        depths=(2,) * len(widths),
        factored="convolution" if factored else "",
        norm=norm,
        drop_path=drop_path,
        remat=remat,
        dtype=dtype,
    )


BACKBONES: Table[nn.Module] = Table(
    {"small": SmallBackbone, "resnet18": resnet18, "efficientnet_lite0": efficientnet_lite0},
    given=("temporal", "dtype", "parent", "name"),
)
