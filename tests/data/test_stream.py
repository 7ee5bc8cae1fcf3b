"""Streams: pipes, addresses and devices, whose frames come while they are read."""

import contextlib
import functools
import http.server
import io
import os
import socket
import threading
import time
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vjax.data.decode import VideoError, read_video
from vjax.data.encode import video_frames
from vjax.data.stream import VideoStream, at_rate, check_address, is_live, is_stream, shown_name
from vjax.errors import InputError

FPS = 25


@given(
    count=st.integers(1, 60),
    fps=st.sampled_from([5.0, 12.5, 30.0]),
    period_s=st.floats(0.02, 0.5),
    jitter=st.floats(0, 0.4),
    has_stamps=st.booleans(),
)
def test_frames_are_taken_at_an_even_rate_each_the_first_at_its_time(count, fps, period_s, jitter, has_stamps):
    times = (np.arange(count) + np.random.default_rng(count).uniform(0, jitter, count)) / fps
    times = times - times[0] if has_stamps else np.arange(count) / fps
    stamped = [(7.5 + time_s if has_stamps else None, number) for number, time_s in enumerate(times)]
    found = list(at_rate(stamped, period_s=period_s, fps=fps))
    np.testing.assert_allclose([time_s for time_s, _, _ in found], period_s * np.arange(len(found)), atol=1e-6)
    assert [follows for _, follows, _ in found] == [number > 0 for number in range(len(found))]
    for time_s, _, number in found:
        assert times[number] > time_s - 2e-6
        assert number == 0 or times[number - 1] < time_s
    assert found[-1][0] + period_s > times[-1] - 2e-6


def test_after_a_gap_time_goes_on_and_the_frame_does_not_follow():
    found = list(at_rate([(0.0, "a"), (0.1, "b"), (5.03, "c"), (5.13, "d")], period_s=0.1, fps=10))
    assert [(round(time_s, 6), follows) for time_s, follows, _ in found] == [
        (0.0, False),
        (0.1, True),
        (5.03, False),
        (5.13, True),
    ]


def test_a_clock_that_begins_again_is_continued():
    stamps = [100.0, 100.1, 3.0, 3.1]
    found = list(at_rate([(stamp, stamp) for stamp in stamps], period_s=0.1, fps=10))
    assert [round(time_s, 6) for time_s, _, _ in found] == [0.0, 0.1, 0.2, 0.3]


def test_a_slow_stream_repeats_its_frames():
    found = list(at_rate([(0.0, "a"), (0.5, "b")], period_s=0.2, fps=2))
    assert [frame for _, _, frame in found] == ["a", "b", "b"]


def test_streams_are_told_from_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "video.mp4").touch()
    assert all(map(is_stream, ["-", "/dev/null", "rtsp://camera/1", "FILE://x", str(tmp_path / "pipe")]))
    assert not any(map(is_stream, [str(tmp_path / "video.mp4"), str(tmp_path), "missing.mp4", "a:b", "nul\0l"]))
    assert [place for place in ("-", "/dev/null", "rtsp://x/1", "udp://x:1", "http://x/1") if is_live(place)] == [
        "/dev/null",
        "rtsp://x/1",
        "udp://x:1",
    ]


def test_an_address_must_be_allowed_and_of_a_known_protocol():
    check_address("videos/a.mp4", allowed=False)
    check_address("rtsp://camera/1", allowed=True)
    with pytest.raises(InputError, match=r"^http://host/x.mp4 is an address; give --allow-url to open it$"):
        check_address("http://me:secret@host/x.mp4", allowed=False)
    for address in ("file:///etc/passwd", "concat://a", "data://x"):
        with pytest.raises(InputError, match="addresses begin with one of http://, https://, tcp://, rtmp://"):
            check_address(address, allowed=True)


def test_a_password_is_not_shown():
    for address in ("rtsp://me:secret@camera/1", "rtsp://me:p@ss@camera/1", "rtsp://camera/1?user=a&password=secret"):
        assert shown_name(address) == "rtsp://camera/1"
    assert shown_name("videos/what?#1.mp4") == "videos/what?#1.mp4"


def write_ts(path, frames, codec):
    """Writes a transport stream: a container that can be cut anywhere."""
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream(codec, rate=25, options={"g": "10", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for picture in video_frames(frames, Fraction(25)):
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """40 frames, which become brighter."""
    path = tmp_path_factory.mktemp("stream") / "brighter.ts"
    frames = np.broadcast_to(np.arange(0, 240, 6, dtype=np.uint8)[:, None, None, None], (40, 32, 48, 3))
    write_ts(path, frames, "libx264")
    return path


def open_stream(place, *, stall_s=20.0, capacity=8, step=1.0):
    return VideoStream(
        str(place), resize=lambda frame: frame[:2, :2], step=lambda fps: step, stall_s=stall_s, capacity=capacity
    )


@contextlib.contextmanager
def pipe_of(folder, content, *, open_s=0.0):
    """A named pipe into which a thread writes some bytes, and which it then holds open for a while."""
    os.mkfifo(folder / "pipe")

    def write():
        with contextlib.suppress(BrokenPipeError), (folder / "pipe").open("wb") as pipe:
            pipe.write(content)
            pipe.flush()
            ended.wait(open_s)

    ended = threading.Event()
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    yield folder / "pipe"
    ended.set()
    writer.join(20)


def test_a_pipe_gives_all_frames_of_its_video_in_time(video, tmp_path):
    with pipe_of(tmp_path, video.read_bytes()) as pipe, open_stream(pipe, capacity=3) as stream:
        found = []
        for frame in stream:
            time.sleep(0.002)  # slower than the pipe, which waits
            found.append(frame)
    np.testing.assert_array_equal([frame.pixels for frame in found], read_video(video)[:, :2, :2])
    np.testing.assert_allclose([frame.start_s for frame in found], np.arange(40) / FPS, atol=1e-3)
    np.testing.assert_allclose([frame.end_s - frame.start_s for frame in found], 1 / FPS, atol=1e-6)
    assert [frame.follows for frame in found] == [False] + 39 * [True]
    assert (stream.num_frames, stream.num_dropped, stream.num_damaged) == (40, 0, 0)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Prints nothing."""


def test_an_address_gives_the_frames_of_the_file_behind_it(video):
    handler = functools.partial(Quiet, directory=video.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with open_stream(f"http://127.0.0.1:{server.server_port}/{video.name}", step=2.0) as stream:
            found = [frame.pixels for frame in stream]
        with pytest.raises(VideoError, match=r"missing.ts: no video can be opened \(HTTPNotFoundError"):
            list(open_stream(f"http://127.0.0.1:{server.server_port}/missing.ts"))
        server.shutdown()
    np.testing.assert_array_equal(found, read_video(video)[::2, :2, :2])


@pytest.mark.parametrize(("place", "num_frames"), [("brighter.ts", 40), ("file://{video}", 0)])
def test_a_playlist_names_videos_on_servers_and_never_files(video, tmp_path, place, num_frames):
    (tmp_path / "brighter.ts").write_bytes(video.read_bytes())
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:4", "#EXTINF:4,", place.format(video=video), "#EXT-X-ENDLIST", ""]
    (tmp_path / "list.m3u8").write_text("\n".join(lines))
    handler = functools.partial(Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stream = open_stream(f"http://127.0.0.1:{server.server_port}/list.m3u8", capacity=50)
        with stream, contextlib.nullcontext() if num_frames else pytest.raises(VideoError):
            list(stream)
        server.shutdown()
    assert stream.num_frames == num_frames


def test_a_camera_without_time_stamps_is_timed_by_its_frames(tmp_path):
    pictures = [io.BytesIO() for _ in range(12)]
    for number, picture in enumerate(pictures):
        Image.new("RGB", (48, 32), (20 * number, 0, 0)).save(picture, "JPEG")

    class Camera(Quiet):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.end_headers()
            with contextlib.suppress(OSError):
                for picture in pictures:
                    body = picture.getvalue()
                    head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
                    self.wfile.write(head.encode() + body + b"\r\n")
                    self.wfile.flush()
                    time.sleep(0.2)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = []
        step = {"resize": lambda frame: frame[:1, :1], "step": lambda fps: fps * 0.2, "stall_s": 5.0, "capacity": 50}
        # The server ends without saying so.
        with VideoStream(f"http://127.0.0.1:{server.server_port}/", **step) as stream, contextlib.suppress(VideoError):
            iter_into(stream, found)
        server.shutdown()
    assert found[-1].start_s - found[0].start_s == pytest.approx(2.0, abs=1.0), "and not 0.4 s, as at 25 fps"


def test_a_live_stream_that_is_not_taken_in_time_drops_its_oldest_frames(video):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    content = video.read_bytes()
    with open_stream(f"udp://127.0.0.1:{port}?fifo_size=100000", capacity=5, stall_s=1.0) as stream:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            # The receiver may not listen yet, and opens only when it knows the format: the video comes again and again.
            deadline = time.monotonic() + 60
            while stream.num_dropped < 20 and time.monotonic() < deadline:
                for start in range(0, len(content), 1316):
                    sender.sendto(content[start : start + 1316], ("127.0.0.1", port))
                    time.sleep(0.001)
        assert stream.num_dropped >= 20
        found = []
        with pytest.raises(VideoError, match="stalls; no frame came for 1 s"):
            found.extend(iter_into(stream, found))
    assert not found[0].follows, "frames before the first that was kept are missing"
    assert len(found) + stream.num_dropped == stream.num_frames


def iter_into(frames, found):
    """Appends frames as they come, so that they are kept if an error ends them."""
    for frame in frames:
        found.append(frame)
    return []


def test_a_stream_that_stalls_is_given_up_and_its_frames_are_kept(video, tmp_path):
    found = []
    with pipe_of(tmp_path, video.read_bytes()[:-400], open_s=30) as pipe, open_stream(pipe, stall_s=0.5) as stream:
        started = time.monotonic()
        with pytest.raises(VideoError, match=r"pipe: stalls; no frame came for 0.5 s"):
            iter_into(stream, found)
        assert time.monotonic() - started < 20
    assert len(found) > 10


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no video can be opened"), (b"no video " * 2000, "no video can be opened")],
)
def test_a_pipe_without_a_video_is_one_line(tmp_path, content, message):
    with pipe_of(tmp_path, content) as pipe, pytest.raises(VideoError, match=message):
        list(open_stream(pipe))


def test_a_device_that_is_no_camera_is_one_line():
    with pytest.raises(VideoError, match=r"^/dev/null: no video can be opened \("):
        list(open_stream("/dev/null"))


def test_a_stream_may_be_joined_in_its_middle(video, tmp_path):
    content = video.read_bytes()
    with pipe_of(tmp_path, content[len(content) // 3 // 188 * 188 :]) as pipe, open_stream(pipe) as stream:
        found = [frame.pixels for frame in stream]
    assert 10 <= len(found) < 40
    np.testing.assert_array_equal(found, read_video(video)[-len(found) :, :2, :2])


def test_damaged_packets_are_counted_and_the_others_are_shown(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3)).astype(np.uint8)
    write_ts(tmp_path / "noise.ts", frames, "mpeg2video")
    content = bytearray((tmp_path / "noise.ts").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2500] = bytes(2500)
    with pipe_of(tmp_path, bytes(content)) as pipe, open_stream(pipe) as stream:
        num_frames = len(list(stream))
    assert num_frames >= 15
    assert stream.num_damaged > 0


def test_an_error_of_the_callers_own_function_is_raised_where_frames_are_taken(video, tmp_path):
    def fail(frame):
        raise ZeroDivisionError("of the caller")

    with pipe_of(tmp_path, video.read_bytes()) as pipe:
        stream = VideoStream(str(pipe), resize=fail, step=lambda fps: 1.0, stall_s=20, capacity=2)
        with pytest.raises(ZeroDivisionError, match="of the caller"):
            list(stream)
