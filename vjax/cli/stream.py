"""`vjax predict` on a stream: a line for each segment as it ends."""

import argparse
import re
import sys
import time
from pathlib import Path

import numpy as np

from vjax.cli.stopwatch import Stopwatch
from vjax.cli.timeline import describe_segment, make_finder
from vjax.cli.timeline_files import StreamFiles
from vjax.data.decode import VideoError
from vjax.data.stream import STANDARD_INPUT, VideoStream, check_address, is_stream, shown_name
from vjax.errors import InputError
from vjax.evaluation.segments import Segment
from vjax.runtime.interrupt import take_time_to_end
from vjax.text import count, format_time, printable, terminal_width, wrap
from vjax.trained import Trained

_STALL_S = 30.0


def add_streams(parser: argparse.ArgumentParser) -> None:
    """Adds the options of streams."""
    parser.add_argument("--allow-url", action="store_true", help="allow that VIDEO is an address, such as rtsp://...")
    parser.add_argument(
        "--stall",
        type=float,
        metavar="S",
        help=f"seconds without a frame after which a stream is given up (default: {_STALL_S:g})",
    )


def check_stream(args: argparse.Namespace) -> str | None:
    """Returns the stream among the arguments; None if there is none.

    Raises:
      InputError: a stream is not alone, is not allowed, or an option does not fit it.
    """
    streams = [place for place in args.videos if is_stream(place)]
    if not streams:
        if args.stall is not None:
            raise InputError("--stall belongs to a stream: -, a pipe, a device or an address; leave it out for files")
        return None
    place = streams[0]
    check_address(place, allowed=args.allow_url)
    if len(args.videos) > 1:
        raise InputError(f"{shown_name(place)} is a stream, which is predicted alone; give it without other videos")
    if args.json or args.clips or args.out or args.annotate:
        raise InputError(
            f"{shown_name(place)} is a stream; leave out --json, --clips, --out and --annotate. --timeline DIR writes "
            "its probabilities and segments"
        )
    if args.stall is not None and not args.stall > 0:
        raise InputError(f"--stall must be above 0 seconds, got {args.stall:g}")
    if place == STANDARD_INPUT and sys.stdin is None:
        raise InputError("standard input is closed; pipe a video into this command")
    if place == STANDARD_INPUT and is_terminal():
        raise InputError("standard input is a terminal; pipe a video into this command")
    return place


def is_terminal() -> bool:
    """Returns whether standard input is a terminal."""
    return sys.stdin.isatty()


def run_stream(
    args: argparse.Namespace, place: str, trained: Trained, watch: Stopwatch, *, threshold: float | None
) -> list[VideoError]:
    """Prints the segments of a stream as they end, up to its end or Ctrl-C; returns the error that ended it.

    Raises:
      InputError: an option does not fit, or a file cannot be written.
    """
    finder, view, errors = make_finder(args, threshold=threshold), trained.test_view, []
    folder = Path(args.timeline) / _file_name(place) if args.timeline else None
    shown = _Shown(trained.class_names)
    # Frames do not wait for the compiler: the network is compiled before the stream is opened.
    warm = trained.window_inference.start(rows=1, hop=trained.hop(args.hop))
    warm([(0, np.zeros((view.timing.num_frames, *view.size, 3), np.uint8))])
    stream = VideoStream(
        place,
        resize=view.middle_crop,
        step=lambda fps: view.timing.step(video_fps=fps),
        stall_s=_STALL_S if args.stall is None else args.stall,
        capacity=2 * view.timing.num_frames,
    )
    end_s = 0.0
    with stream, StreamFiles(folder, stream.name, trained.class_names) as files:
        try:
            for window in trained.follow(stream, hop=args.hop, watch=watch.timed):
                watch.num_clips, end_s = watch.num_clips + 1, window.end_s
                files.add_window(window.start_s, window.end_s, window.probs)
                if segment := finder.add(window.start_s, window.end_s, window.probs):
                    shown.show(segment, delay_s=time.monotonic() - window.arrived_s + end_s - segment.end_s)
                    files.add_segment(segment)
        except VideoError as error:
            errors.append(error)
        except KeyboardInterrupt:
            take_time_to_end()
            print("stopped", file=sys.stderr)
        # What is open now ends with the stream.
        if segment := finder.close():
            shown.show(segment)
            files.add_segment(segment)
    said = [
        f"{printable(stream.name)}: {format_time(end_s)} of video, {count(watch.num_clips, 'window')}, "
        f"{count(shown.num_segments, 'segment')}; {stream.num_dropped:,} of {count(stream.num_frames, 'frame')} dropped"
    ]
    if stream.num_damaged:
        said.append(f", {count(stream.num_damaged, 'packet')} damaged")
    if folder is not None:
        said.append(f"; in {printable(str(folder))}")
    if stream.num_frames:
        print(wrap("".join(said), width=terminal_width(), hang=2), file=sys.stderr)
    return errors


class _Shown:
    """Prints segments, and counts them."""

    def __init__(self, class_names: tuple[str, ...]):
        self._class_names = class_names
        self.num_segments = 0

    def show(self, segment: Segment, *, delay_s: float | None = None) -> None:
        """Prints a segment in one line, with the time since its end if there is one."""
        self.num_segments += 1
        delay = "" if delay_s is None else f"  ({delay_s:.1f} s after its end)"
        print(f"{describe_segment(segment, self._class_names)}{delay}", flush=True)


def _file_name(place: str) -> str:
    """Returns a name for the folder of a stream.

    >>> _file_name("-"), _file_name("/dev/video0"), _file_name("rtsp://me:secret@cam.example:554/live?q=1")
    ('stdin', 'dev_video0', 'rtsp_cam_example_554_live')
    """
    return "stdin" if place == STANDARD_INPUT else re.sub(r"\W+", "_", shown_name(place)).strip("_")
