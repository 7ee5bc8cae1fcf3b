"""The five fusion networks: four modules that fuse time in five ways.

Every network maps clips `(b t h w c)`, float, to logits `(b v k)`: v independent opinions on one clip. A
single-frame network gives one opinion per frame (v = t), all others give one (v = 1). Each takes a backbone
(models/backbones.py), 2D for all but slow fusion, which takes a 3D one.

Source: Karpathy et al. 2014, "Large-scale video classification with convolutional neural networks" (single frame,
early, late and slow fusion). Deviations: the backbone is a parameter, the same for all; late fusion looks at all
frames, not at two; slow fusion convolves over time in every stage and shrinks it step by step, as 3D CNNs do (Tran et
al. 2015).
"""

import chex
import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp

from vjax.errors import InputError
from vjax.models.checks import check_rate

# The layer from features to logits in every network: the only layer whose shape depends on the number of classes.
CLASSIFIER = "head/logits"


class Network(nn.Module):
    """The base class of the fusion networks.

    Attributes:
      num_classes: number of classes, k.
      backbone: module that maps clips to features.
      dropout: rate, in [0, 1), of the dropout before the classifier; active in training only.
    """

    num_classes: int
    backbone: nn.Module
    dropout: float = 0.0

    def __post_init__(self):
        check_rate(self.dropout, what="a network's dropout")
        super().__post_init__()


class PerFrame(Network):
    """The base class of networks that apply a 2D backbone to every frame and fuse its features afterwards.

    Its two parts can be applied apart, so that overlapping clips of one video share the features of their frames.
    """

    def __call__(self, clips: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b t h w c)` to logits: `(b t k)` of single frame, `(b 1 k)` of late fusion."""
        return self.fuse(self.encode(clips, train=train), train=train)

    def encode(self, clips: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b t h w c)` to the features of each frame, `(b t h' w' d)`."""
        return per_frame(self.backbone, clips, train=train)

    def fuse(self, features: jax.Array, *, train: bool) -> jax.Array:
        """Maps the features of each frame, `(b t h' w' d)`, to logits."""
        raise NotImplementedError


class SingleFrame(PerFrame):
    """A 2D CNN on every frame on its own: t opinions, whose probabilities are averaged at test time."""

    @nn.compact
    def fuse(self, features: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b t h' w' d)` to logits `(b t k)`."""
        return Head(self.num_classes, self.dropout, name="head")(Average((2, 3), name="average")(features), train=train)


class LateFusion(PerFrame):
    """The same 2D backbone on every frame; time is fused at the end.

    Attributes:
      fusion: way to fuse the features of all frames. "concat" flattens and concatenates them for an MLP, which then
        knows the order of frames and is bound to the clip's length and size; "pool" averages over time and space.
      hidden: width of the MLP's hidden layer; used by "concat" only.
    """

    fusion: str = "concat"
    hidden: int = 256

    def __post_init__(self):
        if self.fusion not in ("concat", "pool"):
            raise InputError(f"LateFusion's fusion is 'concat' or 'pool', got {self.fusion!r}")
        super().__post_init__()

    @nn.compact
    def fuse(self, features: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b t h' w' d)` to logits `(b 1 k)`."""
        if self.fusion == "pool":
            fused = Average((1, 2, 3), name="average")(features)
        else:
            flat = features.reshape(features.shape[0], -1)
            check_bound(self, "hidden", flat.shape[-1], "late_concat")
            hidden = nn.Dense(self.hidden, dtype=features.dtype, name="hidden")(flat)
            # The layer has so many inputs that without a norm the first steps can push every ReLU below zero for good.
            fused = nn.relu(nn.LayerNorm(dtype=features.dtype)(hidden))
        return Head(self.num_classes, self.dropout, name="head")(fused[:, None], train=train)


class EarlyFusion(Network):
    """A 2D CNN with time folded into channels: its first convolution sees all frames at once and collapses time."""

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b t h w c)` to logits `(b 1 k)`."""
        check_rank(clips)
        b, t, h, w, c = clips.shape
        folded = clips.transpose(0, 2, 3, 1, 4).reshape(b, 1, h, w, t * c)
        try:
            features = self.backbone(folded, train=train)
        except flax.errors.ScopeParamShapeError as error:
            raise InputError(
                f"early_fusion is bound to the clip length it was initialised with, and these clips have {t} frames; "
                "use clips of the same length"
            ) from error
        return Head(self.num_classes, self.dropout, name="head")(Average((2, 3), name="average")(features), train=train)


class SlowFusion(Network):
    """A 3D CNN: it convolves over space and time in every stage, and time shrinks slowly."""

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b t h w c)` to logits `(b 1 k)`."""
        check_rank(clips)
        features = self.backbone(clips, train=train)
        fused = Average((1, 2, 3), name="average")(features)
        return Head(self.num_classes, self.dropout, name="head")(fused[:, None], train=train)


class Average(nn.Module):
    """The mean over some axes. A module, so that it is listed among the layers of a network.

    Attributes:
      axes: axes that are averaged.
    """

    axes: tuple[int, ...]

    def __call__(self, features: jax.Array) -> jax.Array:
        """Maps `(b t h w d)` to an array without the axes."""
        return features.mean(self.axes)


class Head(nn.Module):
    """Dropout and a linear layer to logits, in float32 or wider for any dtype of the backbone."""

    num_classes: int
    dropout: float

    @nn.compact
    def __call__(self, features: jax.Array, *, train: bool) -> jax.Array:
        """Maps `(b v d)` to `(b v k)`."""
        chex.assert_rank(features, 3)
        features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
        features = nn.Dropout(self.dropout, deterministic=not train)(features)
        return nn.Dense(self.num_classes, name="logits")(features)


def per_frame(backbone: nn.Module, clips: jax.Array, *, train: bool) -> jax.Array:
    """Applies a 2D backbone to every frame of `(b t h w c)`, each as its own clip: `(b t h' w' d)`."""
    check_rank(clips)
    batch, num_frames = clips.shape[:2]
    frames = clips.reshape(batch * num_frames, 1, *clips.shape[2:])
    features = backbone(frames, train=train)
    chex.assert_shape(features, (batch * num_frames, 1, None, None, None))
    return features.reshape(batch, num_frames, *features.shape[2:])


def check_rank(clips: jax.Array) -> None:
    """Raises an InputError if clips do not have the five axes `(b t h w c)`."""
    if clips.ndim != 5:
        raise InputError(f"a network takes clips (b t h w c), rank 5; got shape {clips.shape}")


def check_bound(module: nn.Module, layer: str, num_features: int, what: str) -> None:
    """Raises an InputError if a layer was initialised for clips of another length or size."""
    if module.has_variable("params", layer):
        expected = module.get_variable("params", layer)["kernel"].shape[0]
        if expected != num_features:
            raise InputError(
                f"{what} is bound to the clip length and frame size it was initialised with: it takes "
                f"{expected} features, these clips give {num_features}; use clips of the same shape"
            )
