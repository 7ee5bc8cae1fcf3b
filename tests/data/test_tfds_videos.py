"""Data sets by their TFDS name: with the features of ours, with `Video` where TensorFlow is there, and without."""

import importlib.util
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds

from vjax.data.jpeg import encode_frame
from vjax.data.sources import open_source
from vjax.errors import InputError

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None


def frames(level):
    return [np.full((16, 24, 3), level + 10 * index, np.uint8) for index in range(5)]


class TinyVideos(tfds.core.GeneratorBasedBuilder):
    """Two splits of two videos."""

    pkg_dir_path = pathlib.Path(__file__).parent  # TFDS looks for it in a package, and tests are none
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "clip": tfds.features.Sequence(tfds.features.Image(encoding_format="jpeg")),
            "action": tfds.features.ClassLabel(names=["run", "walk"]),
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0), "validation": self._generate_examples(100)}

    def _generate_examples(self, level):
        for index, action in enumerate(("walk", "run")):
            encoded = [encode_frame(frame, quality=95) for frame in frames(level + 50 * index)]
            yield index, {"clip": encoded, "action": action}


def options(tmp_path, **kwargs):
    return {"name": "tfds", "dataset": "tiny_videos", "data_dir": str(tmp_path), "test": "validation", **kwargs}


def test_a_data_set_is_read_by_its_tfds_name(tmp_path):
    source = open_source(options(tmp_path, fps=12.0), seed=0)
    assert source.class_names == ("run", "walk")
    assert source.split == "train and validation of tiny_videos/1.0.0"
    seen = {video.label: video for video in source.test}
    assert {(video.num_frames, video.fps) for video in seen.values()} == {(5, 12.0)}
    read = seen[1].read(np.array([4, 0, 0]))
    assert np.abs(read.astype(int) - np.stack(frames(100))[[4, 0, 0]]).max() <= 2
    again = open_source(options(tmp_path, val="validation", test="train"), seed=0)
    assert len(again.train) == 2
    assert [len(source.val), len(again.val)] == [0, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "no_such_videos"}, "TFDS does not know 'no_such_videos', by code or in data_dir"),
        ({"test": "test"}, "tiny_videos: has no split 'test'; it has: train, validation"),
        ({"datset": "x"}, "config.source 'tfds' does not know 'datset'; did you mean 'dataset'"),
    ],
)
def test_what_does_not_fit_is_explained(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        open_source(options(tmp_path, **changes), seed=0)
    with pytest.raises(InputError, match="a TFDS dataset has no groups to hold out, got held_out='a'"):
        open_source(options(tmp_path), seed=0, held_out="a")


@pytest.mark.skipif(HAS_TENSORFLOW, reason="TensorFlow is installed")
def test_a_builder_that_needs_tensorflow_is_refused_with_the_extra_that_has_it(tmp_path):
    with pytest.raises(InputError, match=r"TFDS does not know 'ucf101'.* need pip install 'vjax\[tfds\]'"):
        open_source(options(tmp_path, dataset="ucf101", test="test"), seed=0)


@pytest.mark.skipif(not HAS_TENSORFLOW, reason="TensorFlow is not installed (the extra 'tfds')")
def test_a_data_set_of_tfds_videos_is_read_where_tensorflow_is_installed(tmp_path):
    class TinyTfVideos(TinyVideos):
        """The same with `tfds.features.Video`."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "video": tfds.features.Video(shape=(None, 16, 24, 3)),
                "label": tfds.features.ClassLabel(names=["run", "walk"]),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _generate_examples(self, level):
            for index, action in enumerate(("walk", "run")):
                yield index, {"video": frames(level + 50 * index), "label": action}

    source = open_source(options(tmp_path, dataset="tiny_tf_videos"), seed=0)
    seen = {video.label: video for video in source.test}
    np.testing.assert_array_equal(seen[1].read(np.array([3])), np.stack(frames(100))[[3]])
