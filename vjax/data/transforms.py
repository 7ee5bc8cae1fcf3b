"""A video to what a network sees of it: one random view in training, several fixed ones in test; clips that are mixed.

`TestView` is the one definition of preprocessing outside training: evaluation and prediction both use it.
"""

import dataclasses
import math
from typing import Annotated

import numpy as np

from vjax import typed
from vjax.data.video import Video
from vjax.errors import InputError
from vjax.ops import frames as ops
from vjax.ops.augment import erase_box, jitter_colors, rand_augment
from vjax.ops.mix import cutmix, mixup
from vjax.ops.sampling import ClipTiming, random_clip, spaced_clips
from vjax.spec import Range

Share = Annotated[float, Range(0, at_most=1)]


@dataclasses.dataclass(frozen=True)
class Augment:
    """How the clips of training are varied; a clip's frames are all varied alike.

    Attributes:
      scale: lowest and highest share of the largest crop that is cut out.
      ratio: lowest and highest factor on the crop's aspect; (1, 1) keeps the aspect.
      flip: whether every other clip is mirrored left to right; false where mirroring would change the label.
      rand_ops: number of operations of RandAugment; 0 leaves it out.
      rand_magnitude: strength of RandAugment's operations, 0 to 10.
      jitter: strength of colour jitter, 0 to 1.
      erase: probability that the clip loses a box.
    """

    scale: tuple[float, float] = (0.5, 1.0)
    ratio: tuple[float, float] = (1 / 1.15, 1.15)
    flip: bool = True
    rand_ops: Annotated[int, Range(0)] = 0
    rand_magnitude: Annotated[float, Range(0, at_most=10)] = 9.0
    jitter: Share = 0.0
    erase: Share = 0.0

    def __post_init__(self):
        typed.check_fields(self, what="augment")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise InputError(f"augment.scale is a lowest and a highest share in (0, 1], got {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise InputError(f"augment.ratio is a lowest and a highest factor above 0, got {self.ratio}")


@dataclasses.dataclass(frozen=True)
class TrainView:
    """One random clip of a video: a random start, a random resized crop and flip, the same for all its frames.

    Attributes:
      timing: how much time a clip covers.
      size: `(h, w)` of the clip, in pixels.
      augment: how it is varied.
    """

    timing: ClipTiming
    size: tuple[int, int]
    augment: Augment = Augment()

    def __call__(self, video: Video, rng: np.random.Generator) -> np.ndarray:
        """Returns a clip `(t h w c)`, uint8."""
        indices = random_clip(
            rng,
            num_video_frames=video.num_frames,
            num_frames=self.timing.num_frames,
            step=self.timing.step(video_fps=video.fps),
        )
        augment = self.augment
        # All random numbers are drawn before the first pixel is looked at, and always as many.
        box_rng, flip = np.random.default_rng(rng.integers(2**63)), augment.flip and rng.random() < 0.5
        found = video.read(indices)
        height, width = found.shape[1:3]
        box = ops.random_box(
            box_rng,
            height=height,
            width=width,
            aspect=self.size[1] / self.size[0],
            scale=augment.scale,
            ratio=augment.ratio,
        )
        clip = ops.crop_resize(found, box=box, size=self.size, flip=flip)
        clip = rand_augment(box_rng, clip, num_ops=augment.rand_ops, magnitude=augment.rand_magnitude)
        if augment.jitter:
            clip = jitter_colors(box_rng, clip, strength=augment.jitter)
        return erase_box(box_rng, clip, probability=augment.erase)


@dataclasses.dataclass(frozen=True)
class Mix:
    """Every clip of a training batch with its partner in it; mixup or cutmix, one of them drawn for each batch.

    Attributes:
      mixup: alpha of mixup's Beta(alpha, alpha); 0 leaves it out.
      cutmix: alpha of cutmix's Beta(alpha, alpha); 0 leaves it out. Where both are above 0, a batch takes either with
        probability one half.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self):
        for name, value in (("mixup", self.mixup), ("cutmix", self.cutmix)):
            if not 0 <= value < math.inf:
                raise InputError(f"mix.{name} is the alpha of Beta(alpha, alpha), or 0 to leave it out; got {value}")

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.mixup or self.cutmix)

    def __call__(self, batch: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Returns a batch of mixed `clips`, with `other_label (b)` and `share (b)`, float32, of `label`."""
        chosen = [(mix, alpha) for mix, alpha in ((mixup, self.mixup), (cutmix, self.cutmix)) if alpha]
        mix, alpha = chosen[int(rng.random() * len(chosen))]
        clips, share = mix(rng, batch["clips"], alpha=alpha)
        label = batch["label"]
        return batch | {
            "clips": clips,
            "other_label": np.roll(label, 1),
            "share": np.full(len(label), share, np.float32),
        }


@dataclasses.dataclass(frozen=True)
class TestView:
    """The same clips and crops of a video, every time.

    Attributes:
      timing: how much time a clip covers.
      size: `(h, w)` of a clip, in pixels.
      num_clips: clips spread over the whole video.
      num_crops: 1, the middle of the frame, or 3, spread along its longer side.
    """

    __test__ = False  # for pytest: a view for testing, not a test

    timing: ClipTiming
    size: tuple[int, int]
    num_clips: int = 5
    num_crops: int = 1

    def __post_init__(self):
        if self.num_clips < 1:
            raise InputError(f"testing takes at least 1 clip of a video, got {self.num_clips}")
        if self.num_crops not in (1, 3):
            raise InputError(f"testing takes 1 or 3 crops of a clip, got {self.num_crops}")

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """The shape `(n t h w c)` of a video's views, n = clips x crops."""
        return (self.num_clips * self.num_crops, self.timing.num_frames, *self.size, 3)

    def indices(self, video: Video) -> np.ndarray:
        """Returns the frame indices `(clips t)` of a video's clips."""
        return spaced_clips(
            num_video_frames=video.num_frames,
            num_clips=self.num_clips,
            num_frames=self.timing.num_frames,
            step=self.timing.step(video_fps=video.fps),
        )

    def __call__(self, video: Video) -> np.ndarray:
        """Returns clips `(n t h w c)`, uint8; all crops of the first clip come first."""
        # Clips of a short video overlap: a frame is read and resized once, however many clips show it.
        unique, positions = np.unique(self.indices(video), return_inverse=True)
        found = video.read(unique)
        height, width = found.shape[1:3]
        aspect = self.size[1] / self.size[0]
        places = (0.5,) if self.num_crops == 1 else (0.0, 0.5, 1.0)
        boxes = [ops.largest_box(height=height, width=width, aspect=aspect, position=place) for place in places]
        crops = [ops.crop_resize(found, box=box, size=self.size) for box in boxes]
        clips = np.stack([crop[positions.reshape(self.num_clips, -1)] for crop in crops], axis=1)
        return clips.reshape(self.shape)

    def describe(self) -> str:
        """Returns the view in words, for protocols: `5 clips x 1 crop of 16 frames at 5 fps, 112 x 112`."""
        crops = "1 crop" if self.num_crops == 1 else f"{self.num_crops} crops"
        clips = "1 clip" if self.num_clips == 1 else f"{self.num_clips} clips"
        return f"{clips} x {crops} of {self.timing.describe()}, {self.size[0]} x {self.size[1]}"
