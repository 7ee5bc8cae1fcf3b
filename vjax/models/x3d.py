"""X3D-S and X3D-M: one narrow 3D network with depthwise convolutions, on clips of two sizes.

Source: Feichtenhofer 2020, "X3D: Expanding architectures for efficient video recognition", in the form of PyTorchVideo
0.1.5, whose names `torch_names` gives: widths are rounded as there, every second block has a squeeze-excite layer, and
the shortcut of the first block, which keeps the width, has no norm. The last norm of a block starts with a scale of
zero.

The average pool before the last two layers is as large as the last map of the training crop. On larger frames it finds
several windows, and each gives an opinion, because PyTorchVideo averages the probabilities of the windows.

Deviations: those on the cards.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from vjax.layers.conv import Conv
from vjax.layers.conv_forms import Triple
from vjax.layers.depthwise import DepthwiseConv
from vjax.layers.norm import norm_layer
from vjax.layers.pool import average_windows
from vjax.models.arguments import DTYPES, Dropout, DType
from vjax.models.card import TORCH_LEAVES, Card, Figure, Preprocessing, Weights, described
from vjax.models.checks import check_rate, check_size
from vjax.models.fusion import Head, check_rank

STEM_WIDTH = 24
WIDTHS, DEPTHS = (24, 48, 96, 192), (3, 5, 11, 7)
# Width of the layer before the classifier.
LAST_WIDTH = 2048


def torch_names(variables: Mapping[str, Any]) -> dict[str, str]:
    """Returns PyTorchVideo's name of each variable of X3D.

    The keys are paths such as "params/backbone/stage2_0/conv_b/kernel", the values names in PyTorchVideo's state dict
    such as "blocks.2.res_blocks.0.branch2.conv_b.weight". Its `num_batches_tracked` have no counterpart.

    Args:
      variables: the network's variables, `{"params": ..., "batch_stats": ...}`; arrays or shapes.
    """
    return {"/".join(path): _torch_name(path) for path in flatten_dict(variables)}


# PyTorchVideo calls the stem's convolution over space conv_t, and the one over time conv_xy.
_LAYERS = {
    "head/logits": "blocks.5.proj",
    "lin5": "blocks.5.pool.post_conv",
    "backbone/conv5": "blocks.5.pool.pre_conv",
    "backbone/norm5": "blocks.5.pool.pre_norm",
    "backbone/stem_space": "blocks.0.conv.conv_t",
    "backbone/stem_time": "blocks.0.conv.conv_xy",
    "backbone/stem_norm": "blocks.0.norm",
}
_BLOCK = {
    "shortcut": "branch1_conv",
    "shortcut_norm": "branch1_norm",
    "squeeze_excite/squeeze": "branch2.norm_b.1.block.0",
    "squeeze_excite/excite": "branch2.norm_b.1.block.2",
    "norm_b": "branch2.norm_b.0",
}


def _torch_name(path: tuple[str, ...]) -> str:
    _, *modules, leaf = path
    layer = "/".join(modules)
    if layer in _LAYERS:
        return f"{_LAYERS[layer]}.{TORCH_LEAVES[leaf]}"
    stage, place = modules[1].removeprefix("stage").split("_")
    inside = "/".join(modules[2:])
    return f"blocks.{stage}.res_blocks.{place}.{_BLOCK.get(inside, f'branch2.{inside}')}.{TORCH_LEAVES[leaf]}"


# Linear layers here that are convolutions of size 1 in PyTorchVideo.
_CONVOLUTIONS = (
    "blocks.5.pool.post_conv.weight",
    *(
        f"blocks.{stage}.res_blocks.{place}.branch2.norm_b.1.block.{layer}.weight"
        for stage, depth in enumerate(DEPTHS, start=1)
        for place in range(0, depth, 2)
        for layer in (0, 2)
    ),
)
_ZOO = "PyTorchVideo 0.1.5, model zoo"
_ZOO_OF_AUTHORS = "PySlowFast, MODEL_ZOO.md"
_DEVIATIONS = (
    "The average pool covers all frames and at most the last map, so any number of frames and smaller frames are "
    "allowed; the classifier's kernel is drawn by LeCun's rule, not with a deviation of 0.01; other kernels are drawn "
    "by the number of their inputs, not of their outputs; running variances average the batches' biased variances."
)


def _card(
    clip: tuple[int, int, int], multiply_adds: int, weights: Weights, figures: tuple[float, float, float, float]
) -> Card:
    """Returns the card of a form of X3D.

    Args:
      clip: frames, height and width of the training crop, which the multiply-adds are for.
      multiply_adds: multiply-adds, as published.
      weights: weights of PyTorchVideo, with the preprocessing of the test.
      figures: video@1 and video@5 of PyTorchVideo, then video@1 with 30 and with 10 views of the authors.
    """
    wanted = weights.preprocessing
    assert wanted.size is not None
    frames = f"of {wanted.num_frames} frames at {wanted.fps:g} fps, {wanted.size[0]} x {wanted.size[1]}"
    thirty = f"10 clips x 3 crops {frames}"
    ours, ours_of_5, thirty_views, ten_views = figures
    return Card(
        "X3D",
        source='Feichtenhofer 2020, "X3D: Expanding architectures for efficient video recognition"; PyTorchVideo 0.1.5',
        clip=clip,
        num_classes=400,
        parameters=3_790_000,
        multiply_adds=multiply_adds,
        cost_source=f"parameters: {_ZOO}; multiply-adds: {_ZOO_OF_AUTHORS}",
        figures=(
            Figure("Kinetics-400", "video@1", ours, thirty, _ZOO),
            Figure("Kinetics-400", "video@5", ours_of_5, thirty, _ZOO),
            Figure("Kinetics-400", "video@1", thirty_views, thirty, _ZOO_OF_AUTHORS),
            Figure("Kinetics-400", "video@1", ten_views, f"10 clips x 1 crop {frames}", _ZOO_OF_AUTHORS),
        ),
        deviations=_DEVIATIONS,
        torch_names=torch_names,
        torch_convolutions=_CONVOLUTIONS,
        weights=(weights,),
    )


def _weights(name: str, file: str, *, num_frames: int, fps: float, side: int) -> Weights:
    return Weights(
        f"pytorchvideo:{name}",
        file,
        num_classes=400,
        dataset="Kinetics-400",
        source=f"https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/{file}",
        preprocessing=Preprocessing(
            num_frames=num_frames,
            fps=fps,  # every sixth (X3D-S) or fifth (X3D-M) frame of videos at 30 fps
            size=(side, side),
            crop_share=1.0,
            mean=(0.45, 0.45, 0.45),
            std=(0.225, 0.225, 0.225),
        ),
    )


@described(
    _card(
        (13, 160, 160),
        1_960_000_000,
        _weights("x3d_s", "X3D_S.pyth", num_frames=13, fps=5.0, side=182),
        figures=(73.33, 91.27, 73.5, 73.1),
    )
)
def x3d_s(num_classes: int, *, dropout: Dropout = 0.5, dtype: DType = "float32") -> nn.Module:
    """Returns X3D-S, for clips of 13 frames: trained on 160 x 160, tested on 182 x 182."""
    return X3D(num_classes, 5, dropout, DTYPES[dtype])


@described(
    _card(
        (16, 224, 224),
        4_730_000_000,
        _weights("x3d_m", "X3D_M.pyth", num_frames=16, fps=6.0, side=256),
        figures=(75.94, 92.72, 76.2, 75.1),
    )
)
def x3d_m(num_classes: int, *, dropout: Dropout = 0.5, dtype: DType = "float32") -> nn.Module:
    """Returns X3D-M, for clips of 16 frames: trained on 224 x 224, tested on 256 x 256."""
    return X3D(num_classes, 7, dropout, DTYPES[dtype])


class X3D(nn.Module):
    """X3D of the depth and the width that X3D-XS, X3D-S and X3D-M share.

    Attributes:
      num_classes: number of classes, k.
      side: side of the average pool, that of the last map of the training crop.
      dropout: rate, in [0, 1), of the dropout before the classifier; active in training only.
      dtype: dtype of the computation; parameters, norm statistics and logits stay float32.
    """

    num_classes: int
    side: int
    dropout: float = 0.5
    dtype: Any = jnp.float32

    def __post_init__(self):
        check_rate(self.dropout, what="a network's dropout")
        super().__post_init__()

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b t h w c)` to logits `(b v k)`, v being the number of windows of the average pool."""
        check_rank(clips)
        features = X3DBackbone(self.dtype, name="backbone")(clips, train=train)
        pooled = average_windows(features, (features.shape[1], self.side, self.side))
        pooled = pooled.reshape(clips.shape[0], -1, pooled.shape[-1])
        # On single positions, a convolution of size 1 is a linear layer.
        he_normal = nn.initializers.he_normal()
        last = nn.Dense(LAST_WIDTH, use_bias=False, kernel_init=he_normal, dtype=self.dtype, name="lin5")(pooled)
        return Head(self.num_classes, self.dropout, name="head")(nn.relu(last), train=train)


class X3DBackbone(nn.Module):
    """The layers of X3D before its average pool.

    Attributes:
      dtype: dtype of the computation; parameters and norm statistics stay float32.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b t h w c)` to `(b t h/32 w/32 432)`; sizes are rounded up."""
        check_size(clips, min_frames=1, min_size=1, what="X3D")
        norm = norm_layer("batch", train=train, dtype=self.dtype)
        x = Conv(STEM_WIDTH, (1, 3, 3), (1, 2, 2), dtype=self.dtype, name="stem_space")(clips)
        x = DepthwiseConv((5, 1, 1), dtype=self.dtype, name="stem_time")(x)
        x = nn.relu(norm(name="stem_norm")(x))
        for index, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True), start=1):
            for place in range(depth):
                x = X3DBlock(
                    width,
                    stride=2 if place == 0 else 1,
                    squeeze_excite=place % 2 == 0,
                    norm=norm,
                    dtype=self.dtype,
                    name=f"stage{index}_{place}",
                )(x)
        x = Conv(inner_width(WIDTHS[-1]), (1, 1, 1), dtype=self.dtype, name="conv5")(x)
        return nn.relu(norm(name="norm5")(x))


class X3DBlock(nn.Module):
    """A depthwise convolution of 3 x 3 x 3 between two convolutions of size 1, and a shortcut.

    Attributes:
      features: number of output channels.
      stride: stride over space.
      squeeze_excite: whether a squeeze-excite layer follows the norm of the depthwise convolution.
      norm: constructor of the norms.
      dtype: dtype of the computation.
    """

    features: int
    stride: int
    squeeze_excite: bool
    norm: Callable[..., nn.Module]
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(b t h w c)` to `(b t h/stride w/stride features)`."""
        strides: Triple = (1, self.stride, self.stride)

        # The branch.
        y = Conv(inner_width(self.features), (1, 1, 1), dtype=self.dtype, name="conv_a")(x)
        y = nn.relu(self.norm(name="norm_a")(y))
        y = DepthwiseConv((3, 3, 3), strides, dtype=self.dtype, name="conv_b")(y)
        y = self.norm(name="norm_b")(y)
        if self.squeeze_excite:
            y = SqueezeExcite(self.dtype, name="squeeze_excite")(y)
        y = Conv(self.features, (1, 1, 1), dtype=self.dtype, name="conv_c")(nn.swish(y))
        y = self.norm(name="norm_c", scale_init=nn.initializers.zeros)(y)

        # The shortcut, which has a norm only if it changes the number of channels.
        changes_width = x.shape[-1] != self.features
        if changes_width or self.stride != 1:
            x = Conv(self.features, (1, 1, 1), strides, dtype=self.dtype, name="shortcut")(x)
        if changes_width:
            x = self.norm(name="shortcut_norm")(x)
        return nn.relu(x + y)


class SqueezeExcite(nn.Module):
    """Scales each channel by a number in (0, 1), which a small network computes from the means of all channels.

    Source: Hu et al. 2018, "Squeeze-and-excitation networks", with a sixteenth of the channels in between, as X3D.

    Attributes:
      dtype: dtype of the computation.
    """

    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(b t h w c)` to the same shape."""
        means = x.mean((1, 2, 3))
        hidden = nn.relu(nn.Dense(squeezed_width(x.shape[-1]), dtype=self.dtype, name="squeeze")(means))
        return x * nn.sigmoid(nn.Dense(x.shape[-1], dtype=self.dtype, name="excite")(hidden))[:, None, None, None]


def inner_width(features: int) -> int:
    """Returns the channels of a block's depthwise convolution: 2.25 times those of the block."""
    return features * 9 // 4


def squeezed_width(channels: int) -> int:
    """Returns a sixteenth of the channels, as a multiple of 8 that is not below 0.9 of it.

    >>> [squeezed_width(inner_width(features)) for features in WIDTHS]
    [8, 8, 16, 32]
    """
    width = max(8, int(channels / 16 + 4) // 8 * 8)
    return width if width >= 0.9 * channels / 16 else width + 8
