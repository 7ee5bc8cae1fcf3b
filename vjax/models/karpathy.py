"""The four networks of Karpathy et al. 2014, which use time in four ways, at one resolution or at two.

C(d, f, s) is a convolution with d filters of f x f, stride s and a ReLU; N is local response normalization; P is a max
pool of 2 x 2. On frames of 170 x 170 all four networks are

    C(96, 11, 3)-N-P-C(256, 5, 1)-N-P-C(384, 3, 1)-C(384, 3, 1)-C(256, 3, 1)-P-FC(4096)-FC(4096)-classes

whose first convolution gives 57 x 57, and whose pools give 28 x 28, 14 x 14 and 7 x 7. They differ in this:

- single: every frame by itself gives logits.
- early: the first filters are 11 x 11 x 3 x 10, and see all 10 frames.
- late: the first and the 16th frame of 16 pass the convolutions by themselves, and meet in the first FC.
- slow: on 10 frames, the filters of the first three convolutions cover 4, 2 and 2 frames, with a stride of 2 in time.
  This leaves 4, 2 and 1 frames.

With `multiresolution`, frames are 178 x 178. A context stream sees the whole frame at half the size, a fovea stream the
89 x 89 in its centre. The last pool is left out, both streams end at 7 x 7 x 256, and they meet in the first FC.

Source: Karpathy et al. 2014, "Large-scale video classification with convolutional neural networks". Deviations, and the
choices of vjax where the paper says nothing: `DEVIATIONS`.
"""

import dataclasses
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vjax.layers.conv import Conv
from vjax.layers.conv_forms import Triple
from vjax.layers.pool import max_pool
from vjax.layers.response_norm import local_response_norm
from vjax.models.arguments import DTYPES, DropoutOfLayers, DType
from vjax.models.card import Card, Figure, described
from vjax.models.checks import check_rate
from vjax.models.fully_connected import FullyConnected, check_clips
from vjax.models.fusion import Head

POOL: Triple = (1, 2, 2)
SIZE = 170
# Twice the size of a stream.
MULTIRESOLUTION_SIZE = 178

Multiresolution = Annotated[
    bool, "whether a context and a fovea stream see frames of 178 x 178, instead of one stream that sees 170 x 170."
]


@dataclasses.dataclass(frozen=True)
class Fusion:
    """How a network uses the frames of a clip.

    Attributes:
      name: name of the network.
      num_frames: number of frames that a clip must have; None for any number.
      step: distance of the frames that the network looks at; 1 for all.
      extents: number of frames that the filters of the first three convolutions cover.
      stride: stride in time of convolutions that cover several frames.
      joined: whether the frames that are left meet in the first fully connected layer; otherwise each has logits.
    """

    name: str
    num_frames: int | None
    step: int = 1
    extents: Triple = (1, 1, 1)
    stride: int = 1
    joined: bool = True


SINGLE = Fusion("karpathy_single", num_frames=None, joined=False)
EARLY = Fusion("karpathy_early", num_frames=10, extents=(10, 1, 1))
LATE = Fusion("karpathy_late", num_frames=16, step=15)
SLOW = Fusion("karpathy_slow", num_frames=10, extents=(4, 2, 2), stride=2)


# Where the paper says nothing.
DEVIATIONS = (
    "Convolutions pad height and width with (f - 1) // 2 zeros on each side, which gives the published sizes, and do "
    "not pad time. They are not split into groups. A ReLU follows each convolution, before N and P, and each of the "
    "two FC(4096), as in Krizhevsky et al. 2012. A pool drops the row and the column that do not fill a window. "
    "Dropout follows each FC(4096); its rate is an option, and 0.5 is that of Krizhevsky et al. 2012. Kernels start "
    "from He et al. 2015, that of the classifier from LeCun's rule, and biases at 0. With multiresolution, the "
    "context is the mean of 2 x 2 pixels, the fovea begins at row and column 44, and each stream has its own "
    "parameters."
)


def _card(fusion: Fusion, *, parameters: int, multiply_adds: int, accuracies: tuple[float, float, float]) -> Card:
    """Returns the card of a network; the accuracies are clip@1, video@1 and video@5."""
    paper = 'Karpathy et al. 2014, "Large-scale video classification with convolutional neural networks"'
    passes = "20 random clips, each in 4 passes with other crops and flips; plain average"
    clip, video, video_5 = accuracies
    return Card(
        "Karpathy",
        source=paper,
        clip=(fusion.num_frames or 1, SIZE, SIZE),
        num_classes=487,
        parameters=parameters,
        multiply_adds=multiply_adds,
        figures=(
            Figure("Sports-1M", "video@1", video, passes, paper),
            Figure("Sports-1M", "video@5", video_5, passes, paper),
            Figure("Sports-1M", "clip@1", clip, "single clips", paper),
        ),
        deviations=DEVIATIONS,
    )


@described(_card(SINGLE, parameters=73_908_071, multiply_adds=1_271_991_840, accuracies=(41.1, 59.3, 77.7)))
def karpathy_single(
    num_classes: int,
    *,
    multiresolution: Multiresolution = False,
    dropout: DropoutOfLayers = 0.5,
    dtype: DType = "float32",
) -> nn.Module:
    """Returns the single-frame network of Karpathy et al. 2014: clips of any length, one opinion per frame (v = t)."""
    return Karpathy(num_classes, SINGLE, multiresolution, dropout, dtype=DTYPES[dtype])


@described(_card(EARLY, parameters=74_221_703, multiply_adds=2_290_982_208, accuracies=(38.9, 57.7, 76.8)))
def karpathy_early(
    num_classes: int,
    *,
    multiresolution: Multiresolution = False,
    dropout: DropoutOfLayers = 0.5,
    dtype: DType = "float32",
) -> nn.Module:
    """Returns the early fusion network of Karpathy et al. 2014: the first filters see all 10 frames of a clip."""
    return Karpathy(num_classes, EARLY, multiresolution, dropout, dtype=DTYPES[dtype])


@described(_card(LATE, parameters=125_288_295, multiply_adds=2_525_211_712, accuracies=(40.7, 59.3, 78.7)))
def karpathy_late(
    num_classes: int,
    *,
    multiresolution: Multiresolution = False,
    dropout: DropoutOfLayers = 0.5,
    dtype: DType = "float32",
) -> nn.Module:
    """Returns the late fusion network of Karpathy et al. 2014: it sees the first and the last of 16 frames."""
    return Karpathy(num_classes, LATE, multiresolution, dropout, dtype=DTYPES[dtype])


@described(_card(SLOW, parameters=75_511_751, multiply_adds=4_588_786_176, accuracies=(41.9, 60.9, 80.2)))
def karpathy_slow(
    num_classes: int,
    *,
    multiresolution: Multiresolution = False,
    dropout: DropoutOfLayers = 0.5,
    dtype: DType = "float32",
) -> nn.Module:
    """Returns the slow fusion network of Karpathy et al. 2014: three convolutions turn 10 frames into 4, 2 and 1."""
    return Karpathy(num_classes, SLOW, multiresolution, dropout, dtype=DTYPES[dtype])


class Karpathy(nn.Module):
    """A network of Karpathy et al. 2014.

    Attributes:
      num_classes: number of classes, k.
      fusion: how the network uses the frames of a clip.
      multiresolution: whether a context and a fovea stream see a frame of 178 x 178, instead of one of 170 x 170.
      dropout: rate, in [0, 1), of the dropout after each of the two fully connected layers; active in training only.
      width: width of the two fully connected layers.
      dtype: dtype of the computation; parameters and logits stay float32.
    """

    num_classes: int
    fusion: Fusion
    multiresolution: bool = False
    dropout: float = 0.5
    width: int = 4096
    dtype: Any = jnp.float32

    def __post_init__(self):
        check_rate(self.dropout, what="a network's dropout")
        super().__post_init__()

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b t h w c)` to logits `(b t k)` for single frame and `(b 1 k)` for the others.

        Raises:
          InputError: clips have another number of frames or another frame size than the network is made for.
        """
        size = MULTIRESOLUTION_SIZE if self.multiresolution else SIZE
        what = f"{self.fusion.name}{' with multiresolution' if self.multiresolution else ''}"
        check_clips(clips, num_frames=self.fusion.num_frames, size=size, what=what)
        frames = clips[:, :: self.fusion.step]
        streams = {"frame": frames}
        if self.multiresolution:
            streams = {"context": half_size(frames), "fovea": centre(frames)}
        maps = jnp.concatenate(
            [
                Tower(self.fusion.extents, self.fusion.stride, not self.multiresolution, self.dtype, name=name)(stream)
                for name, stream in streams.items()
            ],
            axis=-1,
        )
        opinions = 1 if self.fusion.joined else maps.shape[1]
        flat = maps.reshape(clips.shape[0], opinions, -1)
        features = FullyConnected(self.dropout, self.width, self.dtype, name="fully_connected")(flat, train=train)
        return Head(self.num_classes, self.dropout, name="head")(features, train=train)


class Tower(nn.Module):
    """The five convolutions with their norms and pools; frames share all parameters.

    Attributes:
      extents: number of frames that the filters of the first three convolutions cover.
      stride: stride in time of convolutions that cover several frames.
      last_pool: whether a pool follows the last convolution.
      dtype: dtype of the computation; parameters stay float32.
    """

    extents: Triple
    stride: int
    last_pool: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps frames `(b t h w c)`, 170 x 170, or 89 x 89 without the last pool, to features `(b t' 7 7 256)`."""
        x = max_pool(_response_norm(self._conv(x, "conv1", 96, 11, self.extents[0], stride=3)), POOL)
        x = max_pool(_response_norm(self._conv(x, "conv2", 256, 5, self.extents[1])), POOL)
        x = self._conv(x, "conv3", 384, 3, self.extents[2])
        x = self._conv(x, "conv4", 384, 3)
        x = self._conv(x, "conv5", 256, 3)
        return max_pool(x, POOL) if self.last_pool else x

    def _conv(self, x: jax.Array, name: str, features: int, size: int, extent: int = 1, stride: int = 1) -> jax.Array:
        strides = (self.stride if extent > 1 else 1, stride, stride)
        kernel_size = (extent, size, size)
        conv = Conv(features, kernel_size, strides, self.dtype, use_bias=True, pad_time=False, name=name)
        return nn.relu(conv(x))


def _response_norm(x: jax.Array) -> jax.Array:
    return local_response_norm(x, k=2.0, n=5, alpha=1e-4, beta=0.5)


def half_size(frames: jax.Array) -> jax.Array:
    """Returns frames `(b t h w c)` of even height and width at half of both: the mean of each 2 x 2 pixels."""
    b, t, h, w, c = frames.shape
    return frames.reshape(b, t, h // 2, 2, w // 2, 2, c).mean((3, 5))


def centre(frames: jax.Array) -> jax.Array:
    """Returns the centre of frames `(b t h w c)`, of half their height and width, from row h // 4 and column w // 4."""
    h, w = frames.shape[2:4]
    top, left = h // 4, w // 4
    return frames[:, :, top : top + h // 2, left : left + w // 2]
