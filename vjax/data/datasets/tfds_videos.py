"""Any video dataset of TFDS, by its TFDS name and with its own builder."""

import importlib.util
from typing import Any

import tensorflow_datasets as tfds

from vjax.data.records import RecordSplit, read_raw
from vjax.data.splits import SplitRule
from vjax.data.video import Source
from vjax.errors import InputError


def open_tfds(
    *,
    rule: SplitRule,
    dataset: str,
    data_dir: str = "",
    train: str = "train",
    test: str = "test",
    val: str = "",
    fps: float = 25.0,
) -> Source:
    """Opens a TFDS dataset; the first call downloads it and prepares it as ArrayRecord.

    Args:
      rule: must hold out no groups; the splits are those of the dataset.
      dataset: TFDS name of the dataset, such as "ucf101/ucf101_1".
      data_dir: folder of the TFDS datasets; TFDS' default if empty.
      train: TFDS split to train on.
      test: TFDS split to test on.
      val: TFDS split for choices such as that of the best checkpoint; empty for none.
      fps: frames per second of the videos; used if the records do not contain it.

    Raises:
      InputError: the dataset or a split does not exist, it has no labelled videos, or its builder needs packages that
        are not installed, such as TensorFlow.
    """
    # Build the dataset.
    rule.check_nothing_held_out("a TFDS dataset")
    try:
        builder: Any = tfds.builder(dataset, data_dir=data_dir or None)
        builder.download_and_prepare(file_format="array_record")
        features = builder.info.features
        splits = dict(builder.info.splits)
    except ImportError as error:
        raise InputError(f"{dataset}: its TFDS builder needs more: pip install 'vjax[tfds]' ({error})") from error
    except tfds.core.DatasetNotFoundError as error:
        # Without TensorFlow, TFDS raises the same error for datasets whose code it cannot import.
        advice = (
            "" if importlib.util.find_spec("tensorflow") else "; most of its builders need pip install 'vjax[tfds]'"
        )
        raise InputError(
            f"config.source.dataset: TFDS does not know {dataset!r}, by code or in data_dir{advice}"
        ) from error
    # Find the features and the splits to read.
    frames = _find(features, dataset, "frames", _is_frames)
    label = _find(features, dataset, "label", lambda feature: isinstance(feature, tfds.features.ClassLabel))
    wanted = [train, test, *([val] if val else [])]
    for split in wanted:
        if split not in splits:
            raise InputError(f"{dataset}: has no split {split!r}; it has: {', '.join(splits)}")
    train_videos, test_videos, *val_videos = (
        RecordSplit(read_raw(builder, split), split, frames, label, fps) for split in wanted
    )
    return Source(
        class_names=tuple(features[label].names),
        train=train_videos,
        test=test_videos,
        split=f"{' and '.join(wanted)} of {builder.info.full_name}",
        val=val_videos[0] if val_videos else (),
    )


def _is_frames(feature: Any) -> bool:
    # tfds.features.Video is a Sequence of images, and records store the bytes of those images.
    return isinstance(feature, tfds.features.Sequence) and isinstance(feature.feature, tfds.features.Image)


def _find(features: Any, dataset: str, what: str, fits: Any) -> str:
    found = [name for name, feature in features.items() if fits(feature)]
    if not found:
        raise InputError(f"{dataset}: holds no {what}; it has: {', '.join(features)}")
    return found[0]
