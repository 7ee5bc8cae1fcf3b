import dataclasses
import time

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vjax.data import decode
from vjax.data.decode import VideoError, VideoInfo, probe, read_frames, read_video

NUM_FRAMES = 20


def write(path, *, codec="ffv1", pix_fmt="bgr0", num_frames=NUM_FRAMES, fps=10, options=None):
    """Writes frames whose gray level is 10 times their index, 32 x 24."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 32, 24, pix_fmt
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), 10 * index, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def levels(frames):
    return np.rint(frames.mean((1, 2, 3)) / 10).astype(int).tolist()


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write(tmp_path_factory.mktemp("video") / "video.mkv")


@settings(deadline=None, max_examples=15)
@given(indices=st.lists(st.integers(0, NUM_FRAMES - 1), min_size=1, max_size=8))
def test_any_frames_can_be_read_in_any_order(video, indices):
    frames = read_frames(video, indices)
    assert levels(frames) == indices
    np.testing.assert_array_equal(frames, read_video(video)[indices])


def test_a_probe_counts_and_measures(video):
    found = dataclasses.replace(probe(video), seeks=None)
    assert found == VideoInfo(num_frames=NUM_FRAMES, fps=10.0, height=24, width=32)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "options"),
    [
        ("b_frames.mp4", "libx264", "yuv444p", {"bf": "3", "crf": "1"}),
        ("b_frames.avi", "mpeg4", "yuv420p", {"bf": "2", "q": "1"}),
        ("b_frames.mkv", "libx264", "yuv444p", {"bf": "3", "crf": "1"}),
    ],
)
def test_frames_come_in_the_order_in_which_they_are_shown(tmp_path, name, codec, pix_fmt, options):
    path = write(tmp_path / name, codec=codec, pix_fmt=pix_fmt, options=options)
    whole = read_video(path)
    assert levels(whole) == pytest.approx(list(range(NUM_FRAMES)), abs=1)  # mpeg4 is lossy by up to a level
    assert levels(whole) == sorted(levels(whole))
    np.testing.assert_array_equal(read_frames(path, [7, 3, 19]), whole[[7, 3, 19]])


def test_a_truncated_file_says_how_far_it_got(tmp_path, video):
    path = tmp_path / "cut.mkv"
    whole = video.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError, match=r"cut.mkv: (decoding fails after \d+ frames: |ends before frame 19)"):
        read_frames(path, [19])


@pytest.mark.parametrize(
    ("name", "content"), [("text.mp4", b"not a video"), ("empty.avi", b""), ("zeros.mp4", bytes(4096))]
)
def test_what_is_no_video_is_named_with_a_reason(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=rf"{name}: no video can be opened \(\w+Error: .+\)"):
        probe(tmp_path / name)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(VideoError, match=r"nowhere.mp4: no such file"):
        read_video(tmp_path / "nowhere.mp4")
    with pytest.raises(VideoError, match="no video can be opened"):
        read_frames(tmp_path, [0])


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(VideoError, match=r"sound.wav: holds no video stream"):
        probe(path)


# The traps of real files, one by one.


def test_metadata_that_is_not_utf8_is_ignored(real_videos):
    (path,) = real_videos.glob("odd/hmdb51_*cartwheel*.avi")
    assert probe(path).num_frames == 83  # the header says 84


@pytest.mark.parametrize(("name", "count"), [("RATRACE", 72), ("SchoolRules", 74), ("TrumanShow", 48)])
def test_b_frames_in_avi_are_counted_and_shown_in_order(real_videos, name, count):
    (path,) = real_videos.glob(f"odd/{name}*.avi")
    frames = read_video(path).astype(np.float32)
    assert len(frames) == count == probe(path).num_frames
    # In the wrong order neighbours differ more than frames that are further apart.
    near = np.abs(frames[1:] - frames[:-1]).mean()
    far = np.abs(frames[3:] - frames[:-3]).mean()
    assert near < far


@pytest.mark.parametrize(("angle", "shape"), [(0, (320, 568)), (90, (568, 320)), (180, (320, 568)), (270, (568, 320))])
def test_a_rotated_video_is_shown_upright(real_videos, angle, shape):
    upright = read_video(real_videos / "odd/video_0.mov")[0].astype(np.float32)
    path = real_videos / f"odd/video_{angle}.mov"
    found = read_video(path)[0]
    assert found.shape[:2] == shape == (probe(path).height, probe(path).width)
    # The four files hold one picture, turned: shown upright its sky stays on top.
    top, bottom = (part.mean() for part in np.array_split(found.astype(np.float32), 2))
    upright_top, upright_bottom = (part.mean() for part in np.array_split(upright, 2))
    assert (top > bottom) == (upright_top > upright_bottom)


def test_a_corrupted_video_says_how_many_frames_decode(real_videos):
    with pytest.raises(VideoError, match=r"corrupted.mp4: decoding fails after 28 frames: InvalidDataError"):
        probe(real_videos / "odd/corrupted.mp4")


def test_of_two_video_streams_the_larger_is_read(real_videos):
    found = probe(real_videos / "odd/nasa_13013.mp4")
    assert (found.height, found.width) == (270, 480)


def test_a_video_whose_frames_are_stored_out_of_order_is_read(real_videos):
    assert read_video(real_videos / "odd/unordered.mov").shape == (4, 50, 50, 3)


def test_a_video_without_a_frame_count_in_its_header_is_counted(real_videos):
    assert probe(real_videos / "odd/flipping_a_pancake.mkv").num_frames == 310


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("av1_video.mkv", 125),
        ("h265_video.mp4", 10),
        ("h265_10bits.mp4", 30),
        ("h264_10bits.mp4", 30),
        ("bt709_full_range.mp4", 30),
        ("v_SoccerJuggling_g23_c01.avi", 240),
        ("SOX5yA1l24A.mp4", 332),
    ],
)
def test_codecs_depths_and_ranges_are_read(real_videos, name, count):
    path = real_videos / "odd" / name
    assert probe(path).num_frames == count
    (frame,) = read_frames(path, [count - 1])
    assert frame.dtype == np.uint8
    assert frame.std() > 5


@pytest.mark.parametrize("name", ["sine_mono_s16.wav", "nasa_13013.mp4.audio.mp3", "nasa_13013.mp4.audio_44100.mp3"])
def test_a_sound_file_has_no_video_stream(real_videos, name):
    with pytest.raises(VideoError, match="holds no video stream"):
        probe(real_videos / "odd" / name)


def h264(path, **options):
    """Twenty-five frames with B-frames and a keyframe every 12."""
    options = {"g": "12", "bf": "2", "crf": "5", "sc_threshold": "0", **options}
    return write(path, codec="libx264", pix_fmt="yuv420p", num_frames=25, options=options)


@pytest.fixture(scope="module")
def seekable(tmp_path_factory):
    return h264(tmp_path_factory.mktemp("seek") / "x.mp4")


@settings(deadline=None, max_examples=30)
@given(indices=st.lists(st.integers(0, 24), min_size=1, max_size=5))
def test_seeking_gives_the_frames_that_decoding_from_the_start_gives(seekable, indices):
    seeks = probe(seekable).seeks
    np.testing.assert_array_equal(read_frames(seekable, indices, seeks=seeks), read_video(seekable)[indices])


def test_a_seek_leaves_out_the_frames_between(seekable, monkeypatch):
    decoded = []
    real = decode.decoded_frames

    def counted(*args):
        for frame in real(*args):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(decode, "decoded_frames", counted)
    seeks = probe(seekable).seeks
    assert seeks.keyframes.tolist() == [0, 12, 24]
    del decoded[:]
    read_frames(seekable, [13], seeks=seeks)
    assert len(decoded) < 6
    del decoded[:]
    read_frames(seekable, [13])
    assert len(decoded) == 14


@pytest.mark.parametrize("change", ["pts", "checksums"])
def test_a_seek_that_does_not_arrive_is_given_up_for_the_start(seekable, change):
    seeks = probe(seekable).seeks
    wrong = {"pts": seeks.pts + 100, "checksums": tuple(c + 1 for c in seeks.checksums)}
    wrong = dataclasses.replace(seeks, **{change: wrong[change]})
    np.testing.assert_array_equal(read_frames(seekable, [20], seeks=wrong), read_video(seekable)[[20]])


@pytest.mark.parametrize("name", ["x.avi", "one.mp4"])
def test_where_seeking_is_not_proven_or_not_worth_it_there_is_no_table(tmp_path, name):
    assert probe(h264(tmp_path / name, g="100")).seeks is None


def test_every_few_frames_are_taken_where_that_is_asked(seekable):
    taken = np.stack(list(decode.iterate_video(seekable, step=2.5)))
    np.testing.assert_array_equal(taken, read_video(seekable)[[0, 3, 5, 8, 10, 13, 15, 18, 20, 23]])
    assert decode.frame_rate(seekable) == 10.0


def test_the_time_that_a_caller_spends_on_frames_is_no_time_for_decoding(seekable):
    frames = decode.iterate_video(seekable, limits=decode.Limits(wall_s=5.0))
    next(frames)
    clock = time.monotonic
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: clock() + 60)
        assert len(list(frames)) > 0
