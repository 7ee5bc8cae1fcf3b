"""SlowFast: one pathway sees few frames with many channels, the other all frames with few channels.

Source: Feichtenhofer et al. 2019, "SlowFast networks for video recognition", and its authors' code, PySlowFast, with
the names of PyTorchVideo 0.1.5, which `torch_names` gives. As there, the last norm of a block starts with a scale of
zero.

The average pool before the classifier is as large as the last map of the training crop (224 x 224). On larger frames it
finds several windows, and each gives an opinion, because the authors average the probabilities of the windows.
PyTorchVideo averages their logits.

Deviations: those on the card of `slowfast_r50`.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from vjax.errors import InputError
from vjax.layers.conv import Conv
from vjax.layers.norm import norm_layer
from vjax.layers.pool import average_windows, overlapping_max_pool
from vjax.models.arguments import DTYPES, Dropout, DType
from vjax.models.card import TORCH_LEAVES, Card, Figure, Preprocessing, Weights, described
from vjax.models.checks import check_rate, check_size
from vjax.models.fusion import Head, check_rank
from vjax.models.resnet import Bottleneck

# The fast pathway has ALPHA times the frames of the slow one, and 1/BETA_INVERSE of its channels.
ALPHA, BETA_INVERSE = 4, 8
DEPTHS = (3, 4, 6, 3)
# Frames that the first convolution of a block covers, for each stage of each pathway.
FRAMES = {"slow": (1, 1, 3, 3), "fast": (3, 3, 3, 3)}
# Side of the average pool: that of the last map of 224 x 224.
SIDE = 7


def torch_names(variables: Mapping[str, Any]) -> dict[str, str]:
    """Returns PyTorchVideo's name of each variable of SlowFast.

    The keys are paths such as "params/backbone/slow_stem/Conv_0/kernel", the values names in PyTorchVideo's state dict
    such as "blocks.0.multipathway_blocks.0.conv.weight". Its `num_batches_tracked` have no counterpart.

    Args:
      variables: the network's variables, `{"params": ..., "batch_stats": ...}`; arrays or shapes.
    """
    return {"/".join(path): _torch_name(path) for path in flatten_dict(variables)}


_PATHWAYS = {"slow": 0, "fast": 1}
# Layers of a block.
_BLOCK = {
    "Conv_0": "branch2.conv_a",
    "Conv_1": "branch2.conv_b",
    "Conv_2": "branch2.conv_c",
    "Conv_3": "branch1_conv",
    "BatchNorm_0": "branch2.norm_a",
    "BatchNorm_1": "branch2.norm_b",
    "BatchNorm_2": "branch2.norm_c",
    "BatchNorm_3": "branch1_norm",
}


def _torch_name(path: tuple[str, ...]) -> str:
    _, part, layer, *rest, leaf = path
    if part == "head":
        return f"blocks.6.proj.{TORCH_LEAVES[leaf]}"
    kind = "conv" if rest[-1].startswith("Conv") else "norm"
    if layer.startswith("lateral"):
        name = "conv_fast_to_slow" if kind == "conv" else "norm"
        return f"blocks.{int(layer[-1]) - 1}.multipathway_fusion.{name}.{TORCH_LEAVES[leaf]}"
    pathway, _, place = layer.partition("_")
    if place == "stem":
        return f"blocks.0.multipathway_blocks.{_PATHWAYS[pathway]}.{kind}.{TORCH_LEAVES[leaf]}"
    block, inside = rest
    number = block.rpartition("_")[2]
    stage = f"blocks.{place[-1]}.multipathway_blocks.{_PATHWAYS[pathway]}"
    return f"{stage}.res_blocks.{number}.{_BLOCK[inside]}.{TORCH_LEAVES[leaf]}"


_ZOO = "PyTorchVideo 0.1.5, model zoo"
_ZOO_OF_AUTHORS = "PySlowFast, MODEL_ZOO.md"
_PROTOCOL = "10 clips x 3 crops of 32 frames at 15 fps, 256 x 256"
_CARD = Card(
    "SlowFast",
    source='Feichtenhofer et al. 2019, "SlowFast networks for video recognition"; PySlowFast; PyTorchVideo 0.1.5',
    clip=(32, 256, 256),
    num_classes=400,
    parameters=34_570_000,
    multiply_adds=65_710_000_000,
    cost_source=_ZOO,
    figures=(
        Figure("Kinetics-400", "video@1", 76.94, _PROTOCOL, _ZOO),
        Figure("Kinetics-400", "video@5", 92.69, _PROTOCOL, _ZOO),
        Figure("Kinetics-400", "video@1", 77.0, _PROTOCOL, _ZOO_OF_AUTHORS),
        Figure("Kinetics-400", "video@5", 92.6, _PROTOCOL, _ZOO_OF_AUTHORS),
    ),
    deviations=(
        "The average pool covers all frames and at most the last map, so other numbers of frames and smaller "
        "frames are allowed; the classifier's kernel is drawn by LeCun's rule, not with a deviation of 0.01; other "
        "kernels are drawn by the number of their inputs, not of their outputs; running variances average the biased "
        "variances of the batches."
    ),
    torch_names=torch_names,
    weights=(
        Weights(
            "pytorchvideo:slowfast_r50",
            "SLOWFAST_8x8_R50.pyth",
            num_classes=400,
            dataset="Kinetics-400",
            source="https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/SLOWFAST_8x8_R50.pyth",
            preprocessing=Preprocessing(
                num_frames=32,
                fps=15.0,  # every second frame of videos at 30 fps
                size=(256, 256),
                crop_share=1.0,
                mean=(0.45, 0.45, 0.45),
                std=(0.225, 0.225, 0.225),
            ),
        ),
    ),
)


@described(_CARD)
def slowfast_r50(num_classes: int, *, dropout: Dropout = 0.5, dtype: DType = "float32") -> nn.Module:
    """Returns SlowFast 8x8 on ResNet-50, for clips of 32 frames, of which the slow pathway sees 8."""
    return SlowFast(num_classes, dropout, DTYPES[dtype])


class SlowFast(nn.Module):
    """SlowFast on ResNet-50.

    Attributes:
      num_classes: number of classes, k.
      dropout: rate, in [0, 1), of the dropout before the classifier; active in training only.
      dtype: dtype of the computation; parameters, norm statistics and logits stay float32.
    """

    num_classes: int
    dropout: float = 0.5
    dtype: Any = jnp.float32

    def __post_init__(self):
        check_rate(self.dropout, what="a network's dropout")
        super().__post_init__()

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b t h w c)` to logits `(b v k)`, v being the number of windows of 7 x 7 in the last map.

        Raises:
          InputError: the number of frames is not a multiple of 4.
        """
        check_rank(clips)
        pathways = SlowFastBackbone(self.dtype, name="backbone")(clips, train=train)
        pooled = [average_windows(features, (features.shape[1], SIDE, SIDE)) for features in pathways]
        features = jnp.concatenate(pooled, axis=-1)
        features = features.reshape(clips.shape[0], -1, features.shape[-1])
        return Head(self.num_classes, self.dropout, name="head")(features, train=train)


class SlowFastBackbone(nn.Module):
    """The two pathways and the connections between them.

    Attributes:
      dtype: dtype of the computation; parameters and norm statistics stay float32.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Maps `(b t h w c)` to the slow features `(b t/4 h' w' 2048)` and the fast ones `(b t h' w' 256)`."""
        check_size(clips, min_frames=ALPHA, min_size=1, what="slowfast_r50")
        if clips.shape[1] % ALPHA:
            raise InputError(
                f"slowfast_r50 takes clips whose number of frames is a multiple of {ALPHA}, because its slow pathway "
                f"sees one of {ALPHA} frames; got {clips.shape[1]} frames; set config.clip.num_frames"
            )
        norm = norm_layer("batch", train=train, dtype=self.dtype)

        # The stems; a kernel of the fast one covers time.
        seen = jnp.stack([clips[:, frame] for frame in slow_frames(clips.shape[1])], axis=1)
        slow = Stem(64, 1, norm, self.dtype, name="slow_stem")(seen)
        fast = Stem(64 // BETA_INVERSE, 5, norm, self.dtype, name="fast_stem")(clips)

        # The stages; before each, the slow pathway gets features of the fast one.
        for index in range(len(DEPTHS)):
            lateral = Lateral(norm, self.dtype, name=f"lateral{index + 1}")(fast)
            slow = jnp.concatenate([slow, lateral], axis=-1)
            slow, fast = (
                Stage(
                    2**index * width,
                    DEPTHS[index],
                    stride=1 if index == 0 else 2,
                    frames=FRAMES[pathway][index],
                    norm=norm,
                    dtype=self.dtype,
                    name=f"{pathway}_stage{index + 1}",
                )(x)
                for pathway, width, x in (("slow", 64, slow), ("fast", 64 // BETA_INVERSE, fast))
            )
        return slow, fast


class Stem(nn.Module):
    """A convolution of stride 1 x 2 x 2, a norm, a ReLU and a max pool over space.

    Attributes:
      features: number of output channels.
      frames: number of frames that the kernel covers.
      norm: constructor of the norms.
      dtype: dtype of the computation.
    """

    features: int
    frames: int
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(b t h w c)` to `(b t h/4 w/4 features)`; sizes are rounded up."""
        x = Conv(self.features, (self.frames, 7, 7), (1, 2, 2), dtype=self.dtype)(x)
        return overlapping_max_pool(nn.relu(self.norm()(x)), (1, 3, 3), (1, 2, 2))


class Lateral(nn.Module):
    """The connection from the fast pathway to the slow one: a convolution over time with a stride, a norm and a ReLU.

    Attributes:
      norm: constructor of the norms.
      dtype: dtype of the computation.
    """

    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, fast: jax.Array) -> jax.Array:
        """Maps `(b t h w c)` to `(b t/4 h w 2*c)`."""
        return nn.relu(self.norm()(Conv(2 * fast.shape[-1], (7, 1, 1), (ALPHA, 1, 1), dtype=self.dtype)(fast)))


class Stage(nn.Module):
    """Bottleneck blocks, the first of them with a stride over space.

    Attributes:
      width: width of the blocks; the output is four times as wide.
      depth: number of blocks.
      stride: stride of the first block over space.
      frames: number of frames that the first convolution of a block covers.
      norm: constructor of the norms.
      dtype: dtype of the computation.
    """

    width: int
    depth: int
    stride: int
    frames: int
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `(b t h w c)` to `(b t h' w' 4*width)`."""
        for index in range(self.depth):
            x = Bottleneck(
                self.width,
                stride=self.stride if index == 0 else 1,
                temporal=False,
                conv=functools.partial(Conv, dtype=self.dtype),
                norm=self.norm,
                dtype=self.dtype,
                frames=self.frames,
            )(x)
        return x


def slow_frames(num_frames: int) -> np.ndarray:
    """Returns the frames that the slow pathway sees: as in the published code, evenly spaced from first to last.

    >>> slow_frames(32).tolist()
    [0, 4, 8, 13, 17, 22, 26, 31]
    """
    num_slow = num_frames // ALPHA
    return np.arange(num_slow) * (num_frames - 1) // max(num_slow - 1, 1)
