"""`moving_shapes`: made videos in which the motion, the shape, or both are the label; no download.

A bright textured shape on a dark textured background moves in one of eight ways. The frame is a torus and every
motion is a cycle at constant speed with a random phase: position, angle and size have the same distribution in every
frame of every class. So no single frame, and no bag of frames, tells the motion: only their order does.

Written once as ArrayRecord through TFDS, frames as JPEG bytes; TensorFlow is not needed to write or to read.
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

_CYCLES = {  # what each motion changes, and which way
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
    """What the data set is made of.

    Attributes:
      label: what the class is: "motion", "shape", or "both" (one class for each pair).
      num_train: training videos.
      num_test: test videos.
      size: pixels of a frame's side.
      seed: of everything drawn.
    """

    label: str = "motion"
    num_train: int = 2000
    num_test: int = 400
    size: int = 40
    seed: int = 0

    def __post_init__(self):
        if self.label not in ("motion", "shape", "both"):
            raise InputError(f"moving_shapes' label is 'motion', 'shape' or 'both', got {self.label!r}")
        if min(self.num_train, self.num_test) < 1 or self.size < 16:
            raise InputError(f"moving_shapes needs videos in both splits and frames of 16 pixels or more: {self}")

    @property
    def class_names(self) -> list[str]:
        """The names, sorted."""
        names = {
            "motion": MOTIONS,
            "shape": SHAPES,
            "both": [f"{shape}_{motion}" for shape in SHAPES for motion in MOTIONS],
        }
        return sorted(names[self.label])

    def name(self, motion: str, shape: str) -> str:
        """Returns the class of a video."""
        return {"motion": motion, "shape": shape, "both": f"{shape}_{motion}"}[self.label]


@dataclasses.dataclass(kw_only=True)
class MovingShapesConfig(tfds.core.BuilderConfig):
    """A builder config that carries the options; its name is made of them, so no two share a folder."""

    options: Options = dataclasses.field(default_factory=Options)


class MovingShapes(tfds.core.GeneratorBasedBuilder):
    """Videos whose label is the motion, the shape, or both."""

    VERSION = tfds.core.Version("3.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(features=video_features(self.options.class_names))

    @property
    def options(self) -> Options:
        """What this data set is made of."""
        assert isinstance(self.builder_config, MovingShapesConfig)
        return self.builder_config.options

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        return {
            "train": self._generate_examples("train", self.options.num_train),
            "test": self._generate_examples("test", self.options.num_test),
        }

    def _generate_examples(self, split: str, num_videos: int) -> Iterator[tuple[str, dict[str, Any]]]:
        stream = {"train": 0, "test": 1}[split]
        for index in range(num_videos):
            rng = np.random.default_rng((self.options.seed, stream, index))
            # Every motion with every shape equally often, whatever the label is.
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
    """Returns the builder of a data set that is written under `data_dir`; a second call finds it there."""
    fields = dataclasses.asdict(options)
    name = "-".join(f"{key}_{value}" for key, value in fields.items())
    config = MovingShapesConfig(name=name, options=options)
    builder = MovingShapes(data_dir=Path(data_dir).expanduser(), config=config, file_format="array_record")
    builder.download_and_prepare()
    return builder


def open_split(builder: MovingShapes, split: str) -> RecordSplit:
    """Returns a split of the data set."""
    return RecordSplit(read_raw(builder, split), split)


def draw_video(rng: np.random.Generator, *, motion: str, shape: str, size: int) -> np.ndarray:
    """Returns one video, `(f size size 3)` uint8, of 20 to 28 frames.

    Args:
      rng: draws length, speed, phase, place, angle, size, textures and noise.
      motion: one of `MOTIONS`.
      shape: one of `SHAPES`.
      size: pixels of a side.
    """
    num_frames = int(rng.integers(20, 29))
    # Everything that can move is a cycle, from 0 to 1: place across the frame, a turn, smallest to largest.
    cycles = {quantity: np.full(num_frames, rng.random()) for quantity in ("x", "y", "angle", "size")}
    quantity, sign = _CYCLES[motion]
    cycles[quantity] += sign * rng.uniform(0.04, 0.1) * np.arange(num_frames)
    x, y = cycles["x"] * size, cycles["y"] * size
    angle = cycles["angle"] * 2 * math.pi
    radius = size * (0.24 + 0.18 * (cycles["size"] % 1))

    background = _texture(rng, size, num_blocks=8)
    surface = _texture(rng, size, num_blocks=4)  # coarse, so that it shows which way a circle turns
    # A bright shape on a dark background: one frame is meant to show the shape, and all that it may not show is motion.
    background, surface = 0.22 + 0.15 * background, 0.78 + 0.3 * surface

    grid = (np.arange(size) + 0.5).astype(np.float64)
    frames = np.empty((num_frames, size, size, 3), np.uint8)
    for index in range(num_frames):
        # Offsets on the torus from the shape's centre, turned into the shape's own axes, in units of its radius.
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
    """Returns how far inside a shape of radius 1 each point lies, in radii; negative outside."""
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
    raise InputError(f"a shape is one of {', '.join(SHAPES)}, got {shape!r}")


def _texture(rng: np.random.Generator, size: int, *, num_blocks: int) -> np.ndarray:
    """Returns `num_blocks` x `num_blocks` coloured blocks as `(size size 3)` in [-0.5, 0.5]."""
    blocks = rng.uniform(-0.5, 0.5, (num_blocks, num_blocks, 3))
    index = np.arange(size) * num_blocks // size
    return blocks[index][:, index]
