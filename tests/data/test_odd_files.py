"""The traps of real files, each in a small file made by code; `test_decode.py` has the real ones."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from made_videos import numbered_frames, numbers, write_video
from PIL import Image

from vjax.data.decode import VideoError, iterate_video, probe, read_frames, read_video


def patch(path, old, new):
    """Replaces bytes of a file that are there exactly once."""
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def test_time_stamps_that_run_backwards_do_not_reorder_frames(tmp_path):
    options = {"crf": "5", "x264-params": "b-adapt=0:bframes=3:scenecut=0"}
    path = write_video(tmp_path / "b.avi", numbered_frames(20), codec="libx264", pix_fmt="yuv420p", options=options)
    with av.open(str(path)) as container:
        stamps = [frame.pts for frame in container.decode(video=0)]
    assert stamps != sorted(stamps)  # the trap is there
    assert numbers(read_video(path)) == list(range(20))
    assert numbers(read_frames(path, [5, 1, 5, 19])) == [5, 1, 5, 19]


@pytest.mark.parametrize("claimed", [11, 9, 1000])
def test_frames_are_counted_whatever_the_header_says(tmp_path, claimed):
    path = write_video(tmp_path / "x.avi", numbered_frames(10), codec="mpeg4", pix_fmt="yuv420p")
    content = path.read_bytes()
    length = content.index(b"strh") + 8 + 32
    assert struct.unpack_from("<I", content, length) == (10,)
    path.write_bytes(content[:length] + struct.pack("<I", claimed) + content[length + 4 :])
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == claimed  # the trap is there
    assert probe(path).num_frames == len(read_video(path)) == 10


@pytest.mark.parametrize(("ending", "codec"), [(".avi", "mpeg4"), (".mkv", "libx264"), (".mp4", "libx264")])
def test_metadata_that_is_not_utf8_does_not_matter(tmp_path, ending, codec):
    path = write_video(
        tmp_path / f"x{ending}", numbered_frames(5), codec=codec, pix_fmt="yuv420p", metadata={"title": "Caf_"}
    )
    patch(path, b"Caf_", b"Caf\xe9")
    # The trap is there: PyAV 18 fails by default, PyAV 19 keeps the byte as half of a surrogate pair.
    try:
        with av.open(str(path)) as container:
            assert container.metadata["title"] == "Caf\udce9"
    except UnicodeDecodeError:
        pass
    assert probe(path).num_frames == len(read_video(path)) == 5
    assert numbers(read_frames(path, [4, 2])) == [4, 2]


@pytest.mark.parametrize(
    ("matrix", "quarter_turns"),  # of the display matrix (a b; c d), clockwise
    [((0, 1, -1, 0), 1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 3)],
)
def test_a_turned_video_is_shown_upright(tmp_path, matrix, quarter_turns):
    frames = numbered_frames(3, height=16, width=32)
    frames[:, :8, :16] = 200  # the corner that says which way is up
    path = write_video(tmp_path / "x.mp4", frames)
    a, b, c, d = (65536 * entry for entry in matrix)
    last = (0, 0, 1 << 30)
    content = path.read_bytes()
    found = content.index(struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, *last), content.index(b"tkhd"))
    path.write_bytes(content[:found] + struct.pack(">9i", a, b, 0, c, d, 0, *last) + content[found + 36 :])
    upright = np.rot90(frames, -quarter_turns, axes=(1, 2))
    assert np.abs(read_video(path).astype(int) - upright).max() <= 2
    assert np.abs(read_frames(path, [2])[0].astype(int) - upright[2]).max() <= 2
    assert (probe(path).height, probe(path).width) == upright.shape[1:3]


def test_a_damaged_frame_is_named_by_the_number_of_good_ones_before_it(tmp_path):
    path = write_video(tmp_path / "x.avi", numbered_frames(10))
    content = path.read_bytes()
    starts = [i for i in range(len(content)) if content.startswith(b"\x89PNG", i)]
    assert len(starts) == 10
    path.write_bytes(content[: starts[6]] + b"XXXX" + content[starts[6] + 4 :])
    for read in (probe, read_video, lambda path: read_frames(path, [8])):
        with pytest.raises(VideoError, match=r"x.avi: decoding fails after 6 frames: InvalidDataError: Invalid data"):
            read(path)
    assert numbers(read_frames(path, [5, 0])) == [5, 0]  # what comes before the damage can be read


@pytest.mark.parametrize("ending", [".mkv", ".mp4"])
@pytest.mark.parametrize("large_first", [True, False])
def test_of_two_video_streams_the_one_with_more_pixels_is_read(tmp_path, ending, large_first):
    # The small one takes more bits: neither the bit rate nor the place in the file may decide.
    small = np.random.default_rng(0).integers(0, 256, (12, 32, 48, 3), dtype=np.uint8)
    large = numbered_frames(10, height=64, width=96)
    streams = (large, small) if large_first else (small, large)
    options = {"crf": "10"}
    path = write_video(tmp_path / f"x{ending}", *streams, codec="libx264", pix_fmt="yuv444p", options=options)
    assert (probe(path).height, probe(path).width, probe(path).num_frames) == (64, 96, 10)
    assert numbers(read_video(path)) == list(range(10))


def add_cover(container):
    """Adds a 128 x 128 cover picture; what is returned is to be muxed."""
    cover = container.add_stream("png", rate=25)
    cover.height, cover.width, cover.pix_fmt, cover.disposition = 128, 128, "rgb24", Disposition.attached_pic
    return lambda: cover.encode(av.VideoFrame.from_ndarray(np.full((128, 128, 3), 9, np.uint8))) + cover.encode()


def test_a_cover_picture_is_not_taken_for_the_video(tmp_path):
    path, frames = tmp_path / "x.mp4", numbered_frames(6)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "0"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv444p"
        encode_cover = add_cover(container)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode())
        container.mux(encode_cover())
    assert numbers(read_video(path)) == list(range(6))


def test_a_song_with_a_cover_picture_is_no_video(tmp_path):
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("libmp3lame", rate=44100, layout="mono")
        encode_cover = add_cover(container)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 44100
        container.mux(encode_cover())
        container.mux(sound.encode(silence))
        container.mux(sound.encode())
    with pytest.raises(VideoError, match=r"song.mp3: holds no video stream"):
        probe(path)


@pytest.mark.parametrize("ending", [".jpg", ".mp4"])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((kind, kind) for kind in ("JPEG", "PNG", "WebP", "BMP", "TIFF", "AVIF", "JPEG2000")),
        ("MPO", "JPEG"),  # two JPEGs in a file, as cameras write them
        ("PPM", "PNM"),
        ("GIF", "GIF of one frame"),
    ],
)
def test_a_picture_is_no_video_whatever_its_name(tmp_path, kind, name, ending):
    path = tmp_path / f"x{ending}"
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    picture.save(path, format=kind, **({"save_all": True, "append_images": [picture]} if kind == "MPO" else {}))
    message = rf"x{ending}: is a picture \({name}\), not a video; remove it, or turn pictures into a video file with "
    for read in (probe, read_video, lambda path: list(iterate_video(path))):
        with pytest.raises(VideoError, match=message):
            read(path)


def test_a_gif_of_several_frames_and_a_video_of_one_frame_are_videos(tmp_path):
    assert probe(write_video(tmp_path / "x.gif", numbered_frames(4), codec="gif", pix_fmt="rgb8")).num_frames == 4
    assert probe(write_video(tmp_path / "x.mp4", numbered_frames(1))).num_frames == 1
    assert probe(write_video(tmp_path / "x.mjpeg", numbered_frames(4), codec="mjpeg", pix_fmt="yuvj420p")).fps == 25


@pytest.mark.parametrize("name", ["notes.txt", "notes.nfo", "notes.mp4"])
def test_notes_beside_the_videos_are_no_video(tmp_path, name):
    path = tmp_path / name
    path.write_text("Filmed in the garden.\n" * 40)  # ffmpeg would draw a text file on a terminal and film it
    with pytest.raises(VideoError, match=f"{name}: "):
        probe(path)


def test_a_container_without_a_frame_is_refused(tmp_path):
    path = tmp_path / "x.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        container.start_encoding()
    for read in (probe, read_video):
        with pytest.raises(VideoError, match=r"x.avi: not one frame of the video decodes"):
            read(path)


@pytest.mark.parametrize("index", [10, 500])
def test_a_frame_past_the_end_is_refused(tmp_path, index):
    path = write_video(tmp_path / "x.mkv", numbered_frames(10))
    with pytest.raises(VideoError, match=rf"x.mkv: ends before frame {index}"):
        read_frames(path, [3, index])


def test_frames_that_change_size_in_mid_stream_get_the_size_of_the_first(tmp_path):
    path, frames = tmp_path / "x.avi", numbered_frames(6)
    packets = []
    for part in (frames[:3], frames[3:].repeat(2, axis=1).repeat(2, axis=2)):
        encoder = av.CodecContext.create("png", "w")
        encoder.height, encoder.width, encoder.pix_fmt = *part.shape[1:3], "rgb24"
        encoder.time_base, encoder.framerate = Fraction(1, 25), 25
        for frame in part:
            packets += encoder.encode(av.VideoFrame.from_ndarray(frame))
        packets += encoder.encode()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "rgb24"
        for index, packet in enumerate(packets):
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, index, index, Fraction(1, 25)
            container.mux(packet)
    np.testing.assert_array_equal(read_video(path), frames)
    np.testing.assert_array_equal(read_frames(path, [4, 1]), frames[[4, 1]])


def test_a_colon_in_a_relative_name_is_not_taken_for_a_protocol(tmp_path, monkeypatch):
    write_video(tmp_path / "take:1.mkv", numbered_frames(4))
    monkeypatch.chdir(tmp_path)
    assert numbers(read_video("take:1.mkv")) == [0, 1, 2, 3]


def test_a_percent_sign_in_a_name_stands_for_itself(tmp_path):
    path = write_video(tmp_path / "50%d.mkv", numbered_frames(4))
    assert numbers(read_video(path)) == [0, 1, 2, 3]


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), Fraction(25, 2), 60])
def test_the_frame_rate_is_the_files(tmp_path, fps):
    assert probe(write_video(tmp_path / "x.mp4", numbered_frames(12), fps=fps)).fps == pytest.approx(float(fps))
