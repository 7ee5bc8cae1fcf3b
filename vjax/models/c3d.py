"""C3D, the 3D CNN of Tran et al. 2015: eight convolutions of 3 x 3 x 3 and three fully connected layers.

Source: Tran et al. 2015, "Learning spatiotemporal features with 3D convolutional networks". Clips are 16 frames of
112 x 112. The last pool sees 7 x 7 positions, and three forms of it are in use:

- "after": 512 x 1 x 4 x 4, as in the released network: Caffe adds a window that reaches past the last row and column.
- "both": 512 x 1 x 4 x 4, as in ports to PyTorch such as that of mmaction2: a row and a column are padded on each side,
  so the first window holds the first row alone.
- "none": 512 x 1 x 3 x 3, as in VMZ: the last row and column are dropped.

The first two have 78.41 M parameters at 101 classes, the third 64.95 M at 400.

Deviations: `DEVIATIONS`.
"""

from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from vjax.layers.conv import Conv
from vjax.layers.conv_forms import Triple
from vjax.layers.norm import NO_POOL
from vjax.layers.pool import max_pool
from vjax.models.arguments import DTYPES, DropoutOfLayers, DType
from vjax.models.card import Card, Figure, described
from vjax.models.checks import check_rate
from vjax.models.fully_connected import FullyConnected, check_clips
from vjax.models.fusion import Head

NUM_FRAMES = 16
SIZE = 112

Pool5Padding = Annotated[
    Literal["after", "both", "none"],
    "sides on which the last pool pads 7 x 7 positions: after them, as in the released network, or on both sides, as "
    "in ports to PyTorch, which both leave 4 x 4; or none, which leaves 3 x 3.",
]
# Rows, and columns, of zeros before and after the last pool's input. Behind a second one no further window would fit.
PADS = {"after": (0, 1), "both": (1, 0), "none": (0, 0)}

DEVIATIONS = (
    "Kernels start from He et al. 2015, that of the classifier from LeCun's rule, and biases at 0, not from fixed "
    "deviations and at 0 or 1. In the first four stages the ReLU follows the pool instead of preceding it, which "
    "gives the same numbers with less work. VMZ's network has a batch norm after each convolution, with 5,504 "
    "parameters more; this one has none."
)
_VMZ = "VMZ, the authors' code, from scratch"
_OF_MMACTION2 = "pool5_padding=both; from weights of Sports-1M"
_OF_VMZ = "pool5_padding=none, with batch norms; 64.9 M parameters at 400 classes"


@described(
    Card(
        "C3D",
        source='Tran et al. 2015, "Learning spatiotemporal features with 3D convolutional networks"',
        clip=(NUM_FRAMES, SIZE, SIZE),
        num_classes=101,
        parameters=78_410_000,
        multiply_adds=38_500_000_000,
        cost_source="mmaction2",
        figures=(
            Figure("Kinetics-400", "video@1", 63.4, "10 clips x 1 crop of 16 frames, 112 x 112", _VMZ, _OF_VMZ),
            Figure("Kinetics-400", "clip@1", 52.3, "10 clips x 1 crop of 16 frames, 112 x 112", _VMZ, _OF_VMZ),
            Figure("UCF101, split 1", "video@1", 83.08, "10 clips x 1 crop, 112 x 112", "mmaction2", _OF_MMACTION2),
        ),
        deviations=DEVIATIONS,
    )
)
def c3d(
    num_classes: int, *, pool5_padding: Pool5Padding = "after", dropout: DropoutOfLayers = 0.5, dtype: DType = "float32"
) -> nn.Module:
    """Returns C3D (Tran et al. 2015), a 3D CNN for clips of 16 frames of 112 x 112."""
    return C3D(num_classes, pool5_padding, dropout, dtype=DTYPES[dtype])


class C3D(nn.Module):
    """C3D.

    Attributes:
      num_classes: number of classes, k.
      pool5_padding: sides on which the last pool pads 7 x 7 positions: "after" and "both" leave 4 x 4, "none" 3 x 3.
      dropout: rate, in [0, 1), of the dropout after each of the two fully connected layers; active in training only.
      widths: channels of the convolutions in each of the five stages.
      width: width of the two fully connected layers.
      dtype: dtype of the computation; parameters and logits stay float32.
    """

    num_classes: int
    pool5_padding: Literal["after", "both", "none"] = "after"
    dropout: float = 0.5
    widths: tuple[int, int, int, int, int] = (64, 128, 256, 512, 512)
    width: int = 4096
    dtype: Any = jnp.float32

    def __post_init__(self):
        check_rate(self.dropout, what="a network's dropout")
        super().__post_init__()

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b 16 112 112 c)` to logits `(b 1 k)`.

        Raises:
          InputError: clips have another number of frames or another frame size.
        """
        check_clips(clips, num_frames=NUM_FRAMES, size=SIZE, what="c3d")
        one, two, three, four, five = self.widths
        x = self._conv(clips, "conv1a", one, pool=(1, 2, 2))
        x = self._conv(x, "conv2a", two, pool=(2, 2, 2))
        x = self._conv(self._conv(x, "conv3a", three), "conv3b", three, pool=(2, 2, 2))
        x = self._conv(self._conv(x, "conv4a", four), "conv4b", four, pool=(2, 2, 2))
        x = self._conv(self._conv(x, "conv5a", five), "conv5b", five)
        # After a ReLU nothing is below zero, so padding with zeros changes no maximum.
        pads = PADS[self.pool5_padding]
        pooled: jax.Array = max_pool(jnp.pad(x, ((0, 0), (0, 0), pads, pads, (0, 0))), (2, 2, 2))
        flat = pooled.reshape(clips.shape[0], 1, -1)
        features = FullyConnected(self.dropout, self.width, self.dtype, name="fully_connected")(flat, train=train)
        return Head(self.num_classes, self.dropout, name="head")(features, train=train)

    def _conv(self, x: jax.Array, name: str, features: int, *, pool: Triple = NO_POOL) -> jax.Array:
        x = Conv(features, (3, 3, 3), dtype=self.dtype, use_bias=True, name=name)(x)
        return nn.relu(x if pool == NO_POOL else max_pool(x, pool))
