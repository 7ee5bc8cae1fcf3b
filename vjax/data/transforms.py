"""Preprocessing of videos: one random clip in training, several fixed clips in testing, and mixing of clips.

`TestView` is the only definition of preprocessing outside training: evaluation and prediction both use it.
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
    """Augmentation of training clips; all frames of a clip get the same augmentation.

    Attributes:
      scale: lowest and highest area of the random crop, as a share of the largest crop that fits the frame.
      ratio: lowest and highest factor on the crop's aspect ratio; (1, 1) keeps the aspect ratio.
      rate: lowest and highest factor on the speed of the clip, drawn log-uniform; (1, 1) keeps the frame rate.
      flip: whether half of the clips, at random, are mirrored left to right; false if mirroring would change the label.
      rand_ops: number of RandAugment operations; 0 disables RandAugment.
      rand_magnitude: strength of the RandAugment operations, 0 to 10.
      jitter: strength of colour jitter, 0 to 1; 0 disables it.
      erase: probability of random erasing, which replaces one box of the clip by gray.
    """

    scale: tuple[float, float] = (0.5, 1.0)
    ratio: tuple[float, float] = (1 / 1.15, 1.15)
    rate: tuple[float, float] = (1.0, 1.0)
    flip: bool = True
    rand_ops: Annotated[int, Range(0)] = 0
    rand_magnitude: Annotated[float, Range(0, at_most=10)] = 9.0
    jitter: Share = 0.0
    erase: Share = 0.0

    def __post_init__(self):
        typed.check_fields(self, what="augment")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise InputError(f"augment.scale must be (lowest, highest), 0 < lowest <= highest <= 1, got {self.scale}")
        for name, (low, high) in {"ratio": self.ratio, "rate": self.rate}.items():
            if not 0 < low <= high:
                raise InputError(f"augment.{name} must be (lowest, highest), 0 < lowest <= highest, got {(low, high)}")


@dataclasses.dataclass(frozen=True)
class TrainView:
    """One random clip of a video: a random start and a random augmentation, the same for all frames.

    Attributes:
      timing: number of frames of the clip and their distance in time.
      size: `(h, w)` of the clip, in pixels.
      augment: augmentation of the clip.
    """

    timing: ClipTiming
    size: tuple[int, int]
    augment: Augment = Augment()

    def __call__(self, video: Video, rng: np.random.Generator) -> np.ndarray:
        """Returns a clip `(t h w c)`, uint8."""
        # Random numbers: `rng` is used only before frames are read, and equally often for every clip.
        augment, step = self.augment, self.timing.step(video_fps=video.fps)
        if augment.rate != (1.0, 1.0):
            low, high = augment.rate
            step *= low * (high / low) ** rng.random()
        indices = random_clip(rng, num_video_frames=video.num_frames, num_frames=self.timing.num_frames, step=step)
        box_rng, flip = np.random.default_rng(rng.integers(2**63)), augment.flip and rng.random() < 0.5
        # Random resized crop with flip, then the other augmentations.
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
    """Mixing of each clip of a training batch with a partner, by mixup or cutmix.

    Attributes:
      mixup: alpha of mixup's Beta(alpha, alpha); 0 disables mixup.
      cutmix: alpha of cutmix's Beta(alpha, alpha); 0 disables cutmix. If both are above 0, each batch uses one of them,
        with probability one half.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self):
        for name, value in (("mixup", self.mixup), ("cutmix", self.cutmix)):
            if not 0 <= value < math.inf:
                raise InputError(
                    f"mix.{name} is the alpha of Beta(alpha, alpha), a finite number above 0, or 0 to disable it; "
                    f"got {value}"
                )

    def __bool__(self) -> bool:
        """Whether mixup or cutmix is enabled."""
        return bool(self.mixup or self.cutmix)

    def __call__(self, batch: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Returns a batch with mixed `clips`, the partners' `other_label (b)`, and the share of `label`.

        The share is `share (b)`, float32; it is the same for all rows.
        """
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
    """Fixed clips and crops of a video, the same every time.

    Attributes:
      timing: number of frames of a clip and their distance in time.
      size: `(h, w)` of a clip, in pixels.
      num_clips: number of clips, spread evenly over the video.
      num_crops: number of crops of each clip: 1 in the middle of the frame, or 3 spread along its longer side.
      crop_share: side of a crop as a share of the largest crop that fits the frame, above 0 and up to 1.
    """

    __test__ = False  # for pytest: this is not a test

    timing: ClipTiming
    size: tuple[int, int]
    num_clips: int = 5
    num_crops: int = 1
    crop_share: float = 1.0

    def __post_init__(self):
        if self.num_clips < 1:
            raise InputError(f"testing takes at least 1 clip of a video, got {self.num_clips}")
        if self.num_crops not in (1, 3):
            raise InputError(f"testing takes 1 or 3 crops of a clip, got {self.num_crops}")
        if not 0 < self.crop_share <= 1:
            raise InputError(f"the share of a test crop must lie in (0, 1], got {self.crop_share}")

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
        # Clips of a short video overlap; each frame is read and resized only once.
        unique, positions = np.unique(self.indices(video), return_inverse=True)
        found = video.read(unique)
        crops = [self._crop(found, place) for place in ((0.5,) if self.num_crops == 1 else (0.0, 0.5, 1.0))]
        clips = np.stack([crop[positions.reshape(self.num_clips, -1)] for crop in crops], axis=1)
        return clips.reshape(self.shape)

    def middle_crop(self, frame: np.ndarray) -> np.ndarray:
        """Returns the middle crop `(h w c)` of one frame, in the size of a clip."""
        return self._crop(frame[None], 0.5)[0]

    def _crop(self, frames: np.ndarray, place: float) -> np.ndarray:
        """Returns a crop `(t h w c)` of frames, at a place from 0 to 1 along their longer side."""
        height, width = frames.shape[1:3]
        aspect = self.size[1] / self.size[0]
        box = ops.largest_box(height=height, width=width, aspect=aspect, position=place, share=self.crop_share)
        return ops.crop_resize(frames, box=box, size=self.size)

    def describe(self) -> str:
        """Returns a description of the view, for protocols: `5 clips x 1 crop of 16 frames at 5 fps, 112 x 112`."""
        crops = "1 crop" if self.num_crops == 1 else f"{self.num_crops} crops"
        clips = "1 clip" if self.num_clips == 1 else f"{self.num_clips} clips"
        share = f" from {self.crop_share:g} of the frame" if self.crop_share < 1 else ""
        return f"{clips} x {crops} of {self.timing.describe()}, {self.size[0]} x {self.size[1]}{share}"
