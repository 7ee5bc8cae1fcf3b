"""`moving_shapes`: generated videos whose label is the motion, the shape, or both; no download.

A bright textured shape on a dark textured background moves in one of eight ways. The frame is a torus, and every
motion is a cycle at constant speed with a random phase: position, angle and size have the same distribution in every
frame of every class. So a single frame says nothing about the motion. A set of frames shows which quantity changes,
but only the order of the frames shows the direction.

The dataset is written once as ArrayRecord through TFDS, with frames as JPEG bytes. Neither writing nor reading needs
TensorFlow.
"""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from vjax.data.jpeg import encode_frame
from vjax.data.records import RecordSplit, read_raw, video_features
from vjax.errors import InputError

_CYCLES = {  # the quantity that each motion changes, and the direction
    "left": ("x", -1),
    "right": ("x", 1),
    "up": ("y", -1),
    "down": ("y", 1),
    "turn_left": ("angle", -1),
    "turn_right": ("angle", 1),
    "grow": ("size", 1),
    "shrink": ("size", -1),
}
MOTIONS = tuple(_CYCLES)
SHAPES = ("bar", "circle", "cross", "pair", "ring", "triangle")
FPS = 10.0
_QUALITY = 95


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the generated dataset.

    Attributes:
      label: property that is the class: "motion", "shape", or "both" (one class for each pair).
      num_train: number of training videos.
      num_test: number of test videos.
      num_val: number of validation videos; 0 for no validation split.
      size: side of the square frames in pixels.
      seed: seed of the generated videos.
    """

    label: str = "motion"
    num_train: int = 2000
    num_test: int = 400
    num_val: int = 0
    size: int = 40
    seed: int = 0

    def __post_init__(self):
        if self.label not in ("motion", "shape", "both"):
            raise InputError(f"moving_shapes' label must be 'motion', 'shape' or 'both', got {self.label!r}")
        if min(self.num_train, self.num_test) < 1 or self.num_val < 0 or self.size < 16:
            raise InputError(
                f"moving_shapes needs videos to train and to test on, and frames of 16 pixels or more, got {self}"
            )

    @property
    def class_names(self) -> list[str]:
        """The class names, sorted."""
        names = {
            "motion": MOTIONS,
            "shape": SHAPES,
            "both": [f"{shape}_{motion}" for shape in SHAPES for motion in MOTIONS],
        }
        return sorted(names[self.label])

    def name(self, motion: str, shape: str) -> str:
        """Returns the class name of a video."""
        return {"motion": motion, "shape": shape, "both": f"{shape}_{motion}"}[self.label]


@dataclasses.dataclass(kw_only=True)
class MovingShapesConfig(tfds.core.BuilderConfig):
    """A builder config with the options; `prepare` names it after them, so different options use different folders."""

    options: Options = dataclasses.field(default_factory=Options)


class MovingShapes(tfds.core.GeneratorBasedBuilder):
    """A TFDS builder of videos whose label is the motion, the shape, or both."""

    VERSION = tfds.core.Version("3.1.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(features=video_features(self.options.class_names))

    @property
    def options(self) -> Options:
        """The options from the builder config."""
        assert isinstance(self.builder_config, MovingShapesConfig)
        return self.builder_config.options

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        numbers = {"train": self.options.num_train, "test": self.options.num_test, "val": self.options.num_val}
        return {split: self._generate_examples(split, number) for split, number in numbers.items() if number}

    def _generate_examples(self, split: str, num_videos: int) -> Iterator[tuple[str, dict[str, Any]]]:
        stream = {"train": 0, "test": 1, "val": 2}[split]
        for index in range(num_videos):
            rng = np.random.default_rng((self.options.seed, stream, index))
            # Whatever the label is, the videos run through all pairs of motion and shape in turn.
            motion = MOTIONS[index % len(MOTIONS)]
            shape = SHAPES[index // len(MOTIONS) % len(SHAPES)]
            frames = draw_video(rng, motion=motion, shape=shape, size=self.options.size)
            name = f"{split}-{index:05d}-{shape}-{motion}"
            yield (
                name,
                {
                    "frames": [encode_frame(frame, quality=_QUALITY) for frame in frames],
                    "label": self.options.name(motion, shape),
                    "name": name,
                    "group": "",
                    "path": "",
                    "fps": FPS,
                    "num_frames": len(frames),
                },
            )


def prepare(options: Options, *, data_dir: str | Path) -> MovingShapes:
    """Returns the builder of the dataset; the first call writes the dataset under `data_dir`."""
    fields = dataclasses.asdict(options)
    name = "-".join(f"{key}_{value}" for key, value in fields.items())
    config = MovingShapesConfig(name=name, options=options)
    builder = MovingShapes(data_dir=Path(data_dir).expanduser(), config=config, file_format="array_record")
    builder.download_and_prepare()
    return builder


def open_split(builder: MovingShapes, split: str) -> RecordSplit:
    """Returns the videos of a split, "train", "test" or "val"."""
    return RecordSplit(read_raw(builder, split), split)


def draw_video(rng: np.random.Generator, *, motion: str, shape: str, size: int) -> np.ndarray:
    """Draws one video, `(f size size 3)` uint8, of 20 to 28 frames.

    Args:
      rng: generator of the length, speed, phase, position, angle, size, textures and noise.
      motion: one of `MOTIONS`.
      shape: one of `SHAPES`.
      size: side of the square frames in pixels.
    """
    num_frames = int(rng.integers(20, 29))
    # Every quantity is a cycle from 0 to 1: position across the frame, angle over one turn, size from smallest to
    # largest. The motion moves one of them; the others stay constant.
    cycles = {quantity: np.full(num_frames, rng.random()) for quantity in ("x", "y", "angle", "size")}
    quantity, sign = _CYCLES[motion]
    cycles[quantity] += sign * rng.uniform(0.04, 0.1) * np.arange(num_frames)
    x, y = cycles["x"] * size, cycles["y"] * size
    angle = cycles["angle"] * 2 * math.pi
    radius = size * (0.24 + 0.18 * (cycles["size"] % 1))

    # Textures. The shape is bright and the background dark: a single frame may show the shape, but not the motion.
    background = _texture(rng, size, num_blocks=8)
    surface = _texture(rng, size, num_blocks=4)  # coarse blocks show which way a circle turns
    background, surface = 0.22 + 0.15 * background, 0.78 + 0.3 * surface

    # Draw the frames.
    grid = (np.arange(size) + 0.5).astype(np.float64)
    frames = np.empty((num_frames, size, size, 3), np.uint8)
    for index in range(num_frames):
        # Offsets from the shape's centre on the torus, rotated into the shape's axes, in units of its radius.
        dx = (grid[None, :] - x[index] + size / 2) % size - size / 2
        dy = (grid[:, None] - y[index] + size / 2) % size - size / 2
        cos, sin = math.cos(angle[index]), math.sin(angle[index])
        u, v = (cos * dx + sin * dy) / radius[index], (-sin * dx + cos * dy) / radius[index]
        cover = np.clip(_inside(shape, u, v) * radius[index] + 0.5, 0, 1)[..., None]
        # The texture is fixed to the shape: it moves, turns and grows with it.
        rows = ((v * 0.36 + 0.5) * size).astype(int) % size
        columns = ((u * 0.36 + 0.5) * size).astype(int) % size
        image = background * (1 - cover) + surface[rows, columns] * cover
        image += 0.02 * rng.standard_normal(image.shape)
        frames[index] = np.clip(image * 255, 0, 255)
    return frames


def _inside(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Returns the depth of each point inside a shape of radius 1, in radii; negative outside."""
    match shape:
        case "circle":
            return 0.85 - np.hypot(u, v)
        case "ring":
            return 0.25 - np.abs(np.hypot(u, v) - 0.7)
        case "pair":
            return 0.4 - np.hypot(np.abs(u) - 0.6, v)
        case "bar":
            return np.minimum(1.0 - np.abs(u), 0.3 - np.abs(v))
        case "cross":
            wide, high = np.abs(u), np.abs(v)
            return np.maximum(np.minimum(0.95 - wide, 0.28 - high), np.minimum(0.28 - wide, 0.95 - high))
        case "triangle":
            edges = [u * math.cos(a) + v * math.sin(a) for a in (math.pi / 2, math.pi * 7 / 6, -math.pi / 6)]
            return 0.5 - np.maximum.reduce(edges)
    raise InputError(f"shape must be one of {', '.join(SHAPES)}, got {shape!r}")


def _texture(rng: np.random.Generator, size: int, *, num_blocks: int) -> np.ndarray:
    """Returns a texture `(size size 3)` in [-0.5, 0.5] of `num_blocks` x `num_blocks` coloured blocks."""
    blocks = rng.uniform(-0.5, 0.5, (num_blocks, num_blocks, 3))
    index = np.arange(size) * num_blocks // size
    return blocks[index][:, index]
