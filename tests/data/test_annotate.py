"""Videos with texts in their frames."""

import os

import av
import numpy as np
import pytest
from made_videos import write_video

from vjax.data.annotate import annotate_video
from vjax.data.container import VideoError
from vjax.data.decode import probe, read_video
from vjax.errors import InputError

FRAMES = np.full((40, 62, 81, 3), 200, np.uint8)


def write_with_sound(path, *, layout="mono", rate=44100, codec="aac"):
    """40 frames at 20 fps with a tone of 2 s."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=20)
        video.height, video.width, video.pix_fmt = 62, 80, "yuv420p"
        audio = container.add_stream(codec, rate=rate, layout=layout)
        for index in range(40):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(FRAMES[index, :, :80]), format="rgb24")
            container.mux(video.encode(frame))
        tone = np.sin(np.arange(2 * rate) / rate * 2 * np.pi * 440).astype(np.float32)
        channels = 1 if layout == "mono" else 2
        for start in range(0, len(tone), 1024):
            part = np.tile(tone[None, start : start + 1024], (channels, 1))
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            container.mux(audio.encode(frame))
        container.mux(video.encode())
        container.mux(audio.encode())
    return path


def text_in_second_half(seconds):
    return "walk 0.93" if seconds >= 1 else ""


def test_the_text_is_in_the_frames_of_its_time_alone(tmp_path):
    path = write_video(tmp_path / "a.mp4", FRAMES, fps=20)
    annotate_video(path, tmp_path / "b.mp4", text_in_second_half)
    found = read_video(tmp_path / "b.mp4").astype(int)
    assert found.shape == (40, 62, 82, 3)
    assert np.abs(found[:20] - 200).max() < 12
    assert found[20:, :8].mean() < 150
    assert found[20:, :18].max() > 200
    assert np.abs(found[20:, 30:] - 200).max() < 12
    assert probe(tmp_path / "b.mp4").fps == pytest.approx(20)


@pytest.mark.parametrize(
    ("name", "layout", "rate", "codec"),
    [("a.mp4", "mono", 44100, "aac"), ("a.mp4", "stereo", 48000, "mp3"), ("a.mkv", "mono", 22254, "flac")],
)
def test_the_sound_is_kept(tmp_path, name, layout, rate, codec):
    path = write_with_sound(tmp_path / name, layout=layout, rate=rate, codec=codec)
    assert annotate_video(path, tmp_path / "b.mp4", text_in_second_half) == ""
    with av.open(str(tmp_path / "b.mp4")) as container:
        (stream,) = container.streams.audio
        parts = [frame.to_ndarray()[0] for frame in container.decode(stream)]
        sound = np.concatenate(parts)
    assert len(sound) / stream.rate == pytest.approx(2, abs=0.1)
    middle = sound[len(sound) // 4 : len(sound) // 4 + stream.rate // 2]
    loudest = np.argmax(np.abs(np.fft.rfft(middle))) * stream.rate / len(middle)
    assert loudest == pytest.approx(440, abs=5)


def test_a_long_text_is_written_smaller(tmp_path):
    path = write_video(tmp_path / "a.mp4", FRAMES[:2])
    annotate_video(path, tmp_path / "b.mp4", lambda _: "playing a very long piece of music 0.93")
    found = read_video(tmp_path / "b.mp4")[0].astype(int)
    strip = np.abs(found[:18] - 66).max(-1)
    assert strip[:, -2:].max() < 40, "the text ends before the frame does"


def test_a_video_is_never_written_over_itself_and_the_ending_must_fit(tmp_path):
    path = write_video(tmp_path / "a.mp4", FRAMES)
    with pytest.raises(InputError, match="is the video itself; give another file"):
        annotate_video(path, path, str)
    with pytest.raises(InputError, match=r"a video with texts is an .mp4 file"):
        annotate_video(path, tmp_path / "b.avi", str)
    with pytest.raises(InputError, match="there is no folder"):
        annotate_video(path, tmp_path / "no/b.mp4", str)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full, the disk that is always full")
def test_a_full_disk_is_an_error_of_one_line(tmp_path):
    video = write_video(tmp_path / "x.mp4", np.zeros((5, 32, 48, 3), np.uint8))
    (tmp_path / "out.mp4").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"out.mp4 cannot be written: No space left on device"):
        annotate_video(video, tmp_path / "out.mp4", lambda seconds: "walk")


def test_a_file_that_is_no_video_is_named(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoError, match="no video can be opened"):
        annotate_video(tmp_path / "text.mp4", tmp_path / "b.mp4", str)
