"""Files that ask a reader to read something else, or never to end: each looks like a video in a data set's folder."""

import os
import socket

import av
import numpy as np
from made_videos import numbered_frames, write_video

_PLAYLIST = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.0,\n{}\n"
_SESSION = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {} RTP/AVP 26\n"

# What a file holds, by its name; {near} is a video beside it, {far} one outside, {url} one on a host that listens.
TEXTS = {
    "near.m3u8": _PLAYLIST.format("{near.name}") + "#EXT-X-ENDLIST\n",
    "up.m3u8": _PLAYLIST.format("../../{far.parent.name}/{far.name}") + "#EXT-X-ENDLIST\n",
    "absolute.m3u8": _PLAYLIST.format("{far}") + "#EXT-X-ENDLIST\n",
    "file_url.m3u8": _PLAYLIST.format("file://{far}") + "#EXT-X-ENDLIST\n",
    "http.m3u8": _PLAYLIST.format("{url}") + "#EXT-X-ENDLIST\n",
    "nested.m3u8": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nnear.m3u8\n",
    "key.m3u8": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:1,\n{near.name}\n#EXT-X-ENDLIST\n',
    "endless.m3u8": _PLAYLIST.format("{near.name}"),
    "playlist.mp4": _PLAYLIST.format("file://{far}") + "#EXT-X-ENDLIST\n",
    "near.ffconcat": "ffconcat version 1.0\nfile {near.name}\n",
    "concat.mp4": "ffconcat version 1.0\nfile {near.name}\n",
    "concat_absolute.avi": "ffconcat version 1.0\nfile '{far}'\n",
    "concat_url.mkv": "ffconcat version 1.0\nfile '{url}'\n",
    "concat_protocol.mp4": "ffconcat version 1.0\nfile 'concat:{near}|{far}'\n",
    "session.mp4": _SESSION.format("{port}"),
    "redirect.mov": "RTSPtextrtsp://127.0.0.1:{port}/x\r\n",
    "metafile.asx": '<asx version="3.0"><entry><ref href="{url}"/></entry></asx>\n',
    "manifest.mpd": '<?xml version="1.0"?><MPD type="dynamic"><Period><BaseURL>{url}</BaseURL></Period></MPD>\n',
    "titles.idx": "# VobSub index file, v7 (do not modify this line!)\ntimestamp: 00:00:00:000, filepos: 0\n",
    "frame%d.png": "a sequence of pictures, by its name\n",
    "https:%2f%2f127.0.0.1.mp4": "a name like an address\n",
    "terminal.ans": "\x1b[31mtext that becomes a film of a terminal\x1b[0m\n" * 20,
}
SPECIAL = ("pipe.mp4", "socket.mp4", "zero.mp4", "folder.mp4", "dangling.mp4", "to_pipe.mp4")


class Listener:
    """A host on this machine that nobody may call."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=8)
        self._socket.settimeout(0.2)
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/x.ts"

    def was_called(self):
        """Whether anybody has connected since the last question."""
        try:
            self._socket.accept()[0].close()
        except TimeoutError:
            return False
        return True

    def close(self):
        self._socket.close()


def write_attacks(folder, listener):
    """Writes every attack into a folder, of a class, say, and returns the paths; what they want is there to be had."""
    folder.mkdir(parents=True)
    outside = folder.parent.parent / "outside"
    outside.mkdir()
    far = write_video(
        outside / "far.ts", numbered_frames(25, height=64, width=64), codec="mpeg2video", pix_fmt="yuv420p"
    )
    near = folder / "near.ts"
    near.write_bytes(far.read_bytes())
    (folder / ".frame1.png").write_bytes(b"")
    paths = []
    for name, text in TEXTS.items():
        paths.append(folder / name)
        paths[-1].write_text(text.format(near=near, far=far, url=listener.url, port=listener.port))
    return paths + _write_special(folder)


def _write_special(folder):
    paths = [folder / name for name in SPECIAL]
    pipe, socket_path, zero, empty, dangling, to_pipe = paths
    os.mkfifo(pipe)
    before = os.getcwd()
    try:
        os.chdir(folder)  # a socket's whole path may have no more than 107 bytes
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(socket_path.name)
    finally:
        os.chdir(before)
    zero.symlink_to("/dev/zero")
    empty.mkdir()
    dangling.symlink_to(folder / "nowhere.mp4")
    to_pipe.symlink_to(pipe)
    return paths


def write_without_first_keyframe(path, *, num_frames=18):
    """Writes a video whose first packet was cut off: it decodes, but its first keyframe is not its first frame."""
    whole = path.with_name(f".whole_{path.name}")
    moving = np.stack([np.roll(_noise(), 3 * index, axis=1) for index in range(num_frames)])
    write_video(whole, moving, codec="mpeg4", pix_fmt="yuv420p", options={"g": "4"})
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in list(source.demux(video=0))[1:-1]:
            packet.stream = stream
            target.mux(packet)
    return path


def _noise():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)


def write_with_late_sound(path):
    """Writes an FLV video whose sound begins after all that a reader looks at to know the streams."""
    frames = np.concatenate([numbered_frames(30, height=32, width=32)] * 4)
    write_video(path, frames, fps=1, codec="flv", pix_fmt="yuv420p", options={"g": "12"})
    sound = path.with_name(f".sound_{path.name}")
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("libmp3lame", rate=44100, layout="mono")
        for _ in range(20):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
            silence.sample_rate = 44100
            container.mux(stream.encode(silence))
        container.mux(stream.encode())
    with path.open("ab") as file:
        file.write(sound.read_bytes()[13:])  # without the file's header
    return path


def write_endless(path, *, num_bytes=1 << 40):
    """Writes a video that goes on with a terabyte of zeros, of which the file system keeps none."""
    codec = {".mpg": "mpeg2video", ".avi": "mpeg4", ".mkv": "libx264"}[path.suffix]
    write_video(path, numbered_frames(12, height=32, width=32), codec=codec, pix_fmt="yuv420p")
    os.truncate(path, num_bytes)
    return path
