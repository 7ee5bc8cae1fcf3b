"""Any video data set of TFDS, by its TFDS name and through its own builder."""

import importlib.util
from typing import Any

import tensorflow_datasets as tfds

from vjax.data.records import RecordSplit, read_raw
from vjax.data.video import Source
from vjax.errors import InputError


def open_tfds(
    *,
    seed: int,
    held_out: str,
    dataset: str,
    data_dir: str = "",
    train: str = "train",
    test: str = "test",
    fps: float = 25.0,
) -> Source:
    """Returns a data set of TFDS, downloading and preparing it as ArrayRecord the first time.

    Args:
      seed: not used: the splits are those of the data set.
      held_out: must be empty, likewise.
      dataset: its TFDS name, such as "ucf101/ucf101_1".
      data_dir: where TFDS keeps its data sets; TFDS' default if empty.
      train: the split to train on.
      test: the split to test on.
      fps: frames per second of its videos, which TFDS does not keep.

    Raises:
      InputError: there is no such data set, it holds no labelled videos, or it needs TensorFlow, which is not there.
    """
    del seed
    if held_out:
        raise InputError(f"a TFDS data set has no groups to hold out, got held_out={held_out!r}")
    try:
        builder: Any = tfds.builder(dataset, data_dir=data_dir or None)
        builder.download_and_prepare(file_format="array_record")
        features = builder.info.features
        splits = dict(builder.info.splits)
    except ImportError as error:
        raise InputError(f"{dataset}: its TFDS builder needs more: pip install 'vjax[tfds]' ({error})") from error
    except tfds.core.DatasetNotFoundError as error:
        # Without TensorFlow, TFDS says the same of data sets whose code it could not import.
        advice = (
            "" if importlib.util.find_spec("tensorflow") else "; most of its builders need pip install 'vjax[tfds]'"
        )
        raise InputError(
            f"config.source.dataset: TFDS does not know {dataset!r}, by code or in data_dir{advice}"
        ) from error
    frames = _find(features, dataset, "frames", _is_frames)
    label = _find(features, dataset, "a label", lambda feature: isinstance(feature, tfds.features.ClassLabel))
    for split in (train, test):
        if split not in splits:
            raise InputError(f"{dataset}: has no split {split!r}; it has: {', '.join(splits)}")
    return Source(
        class_names=tuple(features[label].names),
        train=RecordSplit(read_raw(builder, train), train, frames, label, fps),
        test=RecordSplit(read_raw(builder, test), test, frames, label, fps),
        split=f"{train} and {test} of {builder.info.full_name}",
    )


def _is_frames(feature: Any) -> bool:
    # A Video is a Sequence of images, and its bytes are those.
    return isinstance(feature, tfds.features.Sequence) and isinstance(feature.feature, tfds.features.Image)


def _find(features: Any, dataset: str, what: str, fits: Any) -> str:
    found = [name for name, feature in features.items() if fits(feature)]
    if not found:
        raise InputError(f"{dataset}: holds no {what}; it has: {', '.join(features)}")
    return found[0]
