"""Frames of a record by their place in the file: the same bytes as ArrayRecord gives, and nothing that is damaged."""

import pickle
import re

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from vjax.data import frame_table
from vjax.data.decode import VideoError
from vjax.data.frame_table import FrameReader
from vjax.data.jpeg import encode_frame
from vjax.data.records import encode_record, video_features

FEATURES = video_features(["a"])


def write_records(path, videos, *, path_length=10):
    """Writes a record for each video, a list of JPEG or other bytes, and its table; returns path and table."""
    writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    for number, frames in enumerate(videos):
        example = {"frames": frames, "label": "a", "name": f"v{number}", "group": "", "path": "p" * path_length}
        writer.write(encode_record(FEATURES, example | {"fps": 25.0, "num_frames": len(frames)}))
    writer.close()
    table = path.with_suffix(".frames")
    frame_table.write_table(path, table)
    return path, table


def noise_frames(count, *, size=16, seed=0):
    rng = np.random.default_rng(seed)
    return [encode_frame(rng.integers(0, 256, (size, size, 3), np.uint8), quality=90) for _ in range(count)]


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_every_frame_of_every_record_is_found_whatever_its_size(tmp_path_factory, data):
    sizes = st.lists(st.integers(1, 200_000), min_size=1, max_size=5)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    videos = [[rng.bytes(size) for size in data.draw(sizes)] for _ in range(3)]
    root = tmp_path_factory.mktemp("records")
    path_length = data.draw(st.sampled_from([0, 100, 70_000]))
    records, table = write_records(root / "x.array_record", videos, path_length=path_length)
    first = 0
    for frames in videos:
        reader = FrameReader(str(records), str(table), first, len(frames), "v")
        indices = np.array(data.draw(st.lists(st.integers(0, len(frames) - 1), min_size=1, max_size=6)))
        assert reader.read_encoded(indices) == [frames[index] for index in indices]
        first += len(frames)


def test_equal_frames_are_told_apart_by_their_place(tmp_path):
    (frame,) = noise_frames(1)
    records, table = write_records(tmp_path / "x.array_record", [[frame] * 3, [frame] * 2])
    starts = np.fromfile(table, frame_table.ENTRY)["start"]
    assert len(set(starts.tolist())) == 5
    assert FrameReader(str(records), str(table), 3, 2, "v").read_encoded(np.array([1])) == [frame]


def test_a_reader_can_be_sent_to_another_process_and_decodes_what_the_record_holds(tmp_path):
    frames = noise_frames(4)
    records, table = write_records(tmp_path / "x.array_record", [noise_frames(2, seed=1), frames])
    reader = pickle.loads(pickle.dumps(FrameReader(str(records), str(table), 2, 4, "v")))
    shown = reader(np.array([3, 0, 3]))
    assert shown.shape == (3, 16, 16, 3)
    np.testing.assert_array_equal(shown[0], shown[2])
    np.testing.assert_array_equal(shown[1], reader(np.array([0]))[0])


def test_a_frame_that_a_video_does_not_have_is_not_the_next_videos(tmp_path):
    records, table = write_records(tmp_path / "x.array_record", [noise_frames(2), noise_frames(2, seed=1)])
    reader = FrameReader(str(records), str(table), 0, 2, "a/v.mp4")
    for index in (-1, 2):
        with pytest.raises(
            VideoError, match=r"a/v.mp4: its record is damaged \(frame -?\d is out of range for 2 frames\); prepare"
        ):
            reader(np.array([0, index]))


def test_a_single_flipped_bit_of_a_frame_is_noticed_and_the_other_frames_are_read(tmp_path):
    videos = [noise_frames(3, size=48)]
    records, table = write_records(tmp_path / "x.array_record", videos)
    content = bytearray(records.read_bytes())
    at = content.find(videos[0][1]) + len(videos[0][1]) // 2
    content[at] ^= 1
    records.write_bytes(content)
    reader = FrameReader(str(records), str(table), 0, 3, "a/v.mp4")
    with pytest.raises(
        VideoError, match=re.escape("a/v.mp4: its record is damaged (frame 1 is not what was written); prepare")
    ):
        reader(np.array([0, 1]))
    assert reader(np.array([2, 0])).shape == (2, 48, 48, 3)


def test_files_that_are_cut_off_or_gone_are_said_with_the_video(tmp_path):
    records, table = write_records(tmp_path / "x.array_record", [noise_frames(3)])
    reader = FrameReader(str(records), str(table), 0, 3, "a/v.mp4")
    table.write_bytes(table.read_bytes()[:20])
    with pytest.raises(VideoError, match=r"a/v.mp4: its record is damaged \(its frame table is cut off\); prepare"):
        reader(np.array([2]))
    table.write_bytes(b"\xff" * 48)
    with pytest.raises(
        VideoError, match=r"a/v.mp4: its record is damaged \(frame 1 is not what was written\); prepare"
    ):
        reader(np.array([1]))
    frame_table.write_table(records, table)
    records.write_bytes(records.read_bytes()[:100])
    with pytest.raises(
        VideoError, match=r"a/v.mp4: its record is damaged \(frame 2 is not what was written\); prepare"
    ):
        reader(np.array([2]))
    records.unlink()
    with pytest.raises(VideoError, match=r"a/v.mp4: its record cannot be read \(.*No such file.*x.array_record"):
        reader(np.array([2]))


def test_records_that_are_compressed_get_no_table(tmp_path):
    path = tmp_path / "x.array_record"
    writer = ArrayRecordWriter(str(path), "group_size:1,zstd:3")
    example = {"frames": [b"a" * 999], "label": "a", "name": "", "group": "", "path": "", "fps": 1.0, "num_frames": 1}
    writer.write(encode_record(FEATURES, example))
    writer.close()
    with pytest.raises(ValueError, match=r"x.array_record: frame 0 of record 0 is not stored unchanged"):
        frame_table.write_table(path, tmp_path / "t")
