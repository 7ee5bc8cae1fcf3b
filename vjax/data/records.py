"""Videos as records of a TFDS dataset: the features of a record, and readers for the frames of a clip.

TFDS itself would decode every frame of a video. Here a record stays encoded, and only the frames of a clip are decoded.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from vjax.data import jpeg
from vjax.data.decode import VideoError
from vjax.data.video import Video

RAW_BYTES = tfds.decode.DeserializeMethod.RAW_BYTES


def video_features(class_names: Sequence[str]) -> tfds.features.FeaturesDict:
    """Returns the TFDS features of a video: JPEG frames, label, name, and metadata of the original video."""
    return tfds.features.FeaturesDict(
        {
            "frames": tfds.features.Sequence(tfds.features.Image(encoding_format="jpeg")),
            "label": tfds.features.ClassLabel(names=list(class_names)),
            "name": tfds.features.Text(),
            "group": tfds.features.Text(),
            "path": tfds.features.Text(),
            "fps": tfds.features.Scalar(np.float32),
            "num_frames": tfds.features.Scalar(np.int64),
        }
    )


def encode_record(features: tfds.features.FeaturesDict, example: Mapping[str, Any]) -> bytes:
    """Returns an example, whose frames are JPEG bytes, as a record; equal examples give equal bytes."""
    written = features.serialize_example(features.encode_example(example))
    return tf_example_pb2.Example.FromString(written).SerializeToString(deterministic=True)  # pyright: ignore


def parse_record(record: bytes) -> Mapping[str, Any]:
    """Returns the fields of a record by name, each as a sequence of bytes, ints or floats."""
    fields = tf_example_pb2.Example.FromString(record).features.feature  # pyright: ignore
    return {name: getattr(value, value.WhichOneof("kind")).value for name, value in fields.items()}


@dataclasses.dataclass(frozen=True)
class RecordReader:
    """Reads frames of one record of a split; can be sent to a worker process.

    Attributes:
      records: records of the split, as raw bytes.
      position: index of the video's record.
      name: name of the video, for messages.
      key: name of the record's field that holds the frames.
    """

    records: Sequence[bytes]
    position: int
    name: str
    key: str = "frames"

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """Returns the frames `(t h w c)` at frame indices `(t)`."""
        try:  # ArrayRecord verifies checksums and raises a RuntimeError if one is wrong
            frames = parse_record(self.records[self.position])[self.key]
            return jpeg.decode_frames([frames[int(index)] for index in indices])
        except (RuntimeError, ValueError, IndexError) as error:
            raise VideoError(f"{self.name}: its record is damaged ({error}); prepare the dataset again") from error


def read_raw(builder: Any, split: str) -> Sequence[bytes]:
    """Returns the records of a dataset's split by position, as raw bytes."""
    return builder.as_data_source(split, deserialize_method=RAW_BYTES)


@dataclasses.dataclass(frozen=True)
class RecordSplit:
    """The videos of a TFDS split by position; their properties are read from the records alone.

    Attributes:
      records: records of the split, as raw bytes.
      split: name of the split; videos without a name are named after it.
      frames: name of the field that holds the frames.
      label: name of the field that holds the label.
      fps: frames per second of videos whose records have no `fps` field.
    """

    records: Sequence[bytes]
    split: str
    frames: str = "frames"
    label: str = "label"
    fps: float = 25.0

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, position: int, /) -> Video:
        if not 0 <= position < len(self):
            raise IndexError(f"{self.split} has {len(self)} videos; there is no position {position}")
        fields = parse_record(self.records[position])
        name = fields["name"][0].decode() if "name" in fields else f"{self.split}[{position}]"
        fps = fields["fps"][0] if "fps" in fields else self.fps
        reader = RecordReader(self.records, position, name, self.frames)
        return Video(name, fields[self.label][0], len(fields[self.frames]), fps, reader)
