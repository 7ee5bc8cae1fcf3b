"""Measures clips per second on one core: vjax from a prepared store and from files, and other readers.

    python benchmarks/input_pipeline.py [--videos DIR] [--seconds 4] [--rounds 3] [--out FILE.jsonl]

Every reader yields random clips of 16 frames at stride 4. The same function crops the clips at random and resizes them
to 112 x 112, so only the reading differs (but tf.data crops and resizes with TensorFlow). Each measurement is a
separate process on one core (or, for vjax through Grain, also on two). The readers take turns, and the table shows
medians over the rounds. Without `--videos` the benchmark generates its videos: ten seconds of 320 x 240 at 30 fps,
H.264 with a keyframe every 250 frames, the default of encoders. Readers that are not installed are skipped:
`pip install torch torchcodec decord tensorflow-cpu`.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from about import commit, machine, versions

NUM_VIDEOS, NUM_COPIES, NUM_FRAMES, HEIGHT, WIDTH, FPS = 4, 32, 300, 240, 320, 30
CLIP, STRIDE, SIZE, BATCH = 16, 4, (112, 112), 16
PACKAGES = ("grain", "array-record", "simplejpeg", "opencv-python-headless", "av", "torchcodec", "decord", "tensorflow")


# --- the readers: each yields the number of clips that it has just read --------------------------------------------


def _grain(root: str, num_workers: int = 0):
    from vjax.data import pipeline
    from vjax.data.sources import open_source

    source = open_source({"name": "videos", "root": root}, seed=0, test_share=0.01)
    batches = pipeline.train_batches(
        source.train,
        _view(),
        pipeline.Shard(BATCH),
        order=pipeline.Order(0),
        start_step=0,
        num_workers=num_workers,
    )
    for batch in batches:
        yield len(batch["label"])


def _loop(root: str):
    from vjax.data.sources import open_source

    videos = open_source({"name": "videos", "root": root}, seed=0, test_share=0.01).train
    view, rng = _view(), np.random.default_rng(0)
    while True:
        view(videos[int(rng.integers(len(videos)))], rng)
        yield 1


def _other(root: str, read):
    """Yields 1 for each random clip of the same kind, read by `read(path, indices)`."""
    from vjax.data.decode import probe
    from vjax.data.video import Video

    videos = []
    for path in sorted([*Path(root).rglob("*.mp4"), *Path(root).rglob("*.avi")]):
        info = probe(path)
        videos.append(Video(str(path), 0, info.num_frames, info.fps, lambda indices, path=path: read(path, indices)))
    view, rng = _view(), np.random.default_rng(0)
    while True:
        view(videos[int(rng.integers(len(videos)))], rng)
        yield 1


def _torchcodec(path, indices):
    from torchcodec.decoders import VideoDecoder  # pyright: ignore

    decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="approximate")
    return decoder.get_frames_at(indices=[int(i) for i in indices]).data.numpy()


def _decord(path, indices):
    from decord import VideoReader, cpu  # pyright: ignore

    return VideoReader(str(path), ctx=cpu(0), num_threads=1).get_batch([int(i) for i in indices]).asnumpy()


def _opencv(path, indices):
    import cv2

    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    capture.set(cv2.CAP_PROP_POS_FRAMES, int(indices[0]))
    frames, at = [], int(indices[0])
    for index in indices:
        while at < index:
            capture.grab()
            at += 1
        _, frame = capture.read()
        at += 1
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    return np.stack(frames)


def _tf_data(root: str):
    """Yields the size of each batch of clips that tf.data reads from the same records.

    The records are copied to a TFRecord file, because TFDS reads ArrayRecord only without TensorFlow.
    """
    import tensorflow as tf  # pyright: ignore
    import tensorflow_datasets as tfds

    records = tfds.builder_from_directory(root).as_data_source(
        "train",  # pyright: ignore
        deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
    )
    path = f"{root}/train.tfrecord"
    with tf.io.TFRecordWriter(path) as writer:  # pyright: ignore
        for index in range(len(records)):
            writer.write(records[index])

    def clip(record):
        frames = tf.io.parse_single_example(record, {"frames": tf.io.VarLenFeature(tf.string)})["frames"].values
        start = tf.random.uniform((), 0, tf.shape(frames)[0] - (CLIP - 1) * STRIDE, tf.int32)
        chosen = frames[start : start + (CLIP - 1) * STRIDE + 1 : STRIDE]
        pictures = tf.map_fn(lambda data: tf.io.decode_jpeg(data, channels=3), chosen, fn_output_signature=tf.uint8)
        pictures = tf.image.random_crop(pictures, (CLIP, 100, 100, 3))
        return tf.cast(tf.image.resize(pictures, SIZE), tf.uint8)

    for batch in tf.data.TFRecordDataset(path).repeat().map(clip, num_parallel_calls=1).batch(BATCH).prefetch(1):
        yield int(batch.shape[0])


READERS = {  # name: (package it needs, kind of input, generator of numbers of clips)
    "vjax store, Grain": ("vjax", "store", _grain),
    "vjax store, loop": ("vjax", "store", _loop),
    "vjax files, Grain": ("vjax", "files", _grain),
    "vjax files, loop": ("vjax", "files", _loop),
    "torchcodec": ("torchcodec", "files", lambda root: _other(root, _torchcodec)),
    "decord": ("decord", "files", lambda root: _other(root, _decord)),
    "OpenCV": ("cv2", "files", lambda root: _other(root, _opencv)),
    "tf.data": ("tensorflow", "store", _tf_data),
}


def _view():
    from vjax.data.transforms import TrainView
    from vjax.ops.sampling import ClipTiming

    return TrainView(ClipTiming(CLIP, stride=STRIDE), SIZE)


# --- one measurement, in a separate process ------------------------------------------------------------------------


def measure(name: str, root: str, seconds: float, cores: int) -> dict[str, float]:
    """Returns clips per second, seconds to the first clips, and the growth of memory."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    if name.startswith("vjax"):
        from vjax.runtime.memory import restart_with_tunables

        restart_with_tunables()  # as vjax's commands do

    # The first clips, then a second of warm-up.
    started = time.perf_counter()
    counts = READERS[name][2](root)
    next(counts)
    first_s = time.perf_counter() - started
    warm_until = time.perf_counter() + 1.0
    while time.perf_counter() < warm_until:
        next(counts)

    # The measurement.
    before, began, clips = _memory_mb(), time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        clips += next(counts)
    spent = time.perf_counter() - began
    return {
        "clips_per_s": clips / spent,
        "first_s": first_s,
        "clips": clips,
        "memory_mb": _memory_mb(),
        "grown_mb": _memory_mb() - before,
    }


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


# --- generated videos ----------------------------------------------------------------------------------------------


def make_videos(root: Path) -> None:
    """Writes videos that pan over noise with the spectrum of natural images (power falls with frequency)."""
    import av

    (root / "made").mkdir(parents=True)
    for number in range(NUM_VIDEOS):
        # One image, larger than a frame.
        rng = np.random.default_rng(number)
        size = 640
        fy, fx = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij")
        spectrum = rng.standard_normal((3, size, size)) / (np.hypot(fx, fy) + 1 / size) ** 1.7
        picture = np.real(np.fft.ifft2(spectrum * np.exp(2j * np.pi * rng.random((3, size, size)))))
        picture = picture[0] * 0.8 + picture * 0.3  # channels are correlated
        picture = np.clip(128 + 50 * (picture - picture.mean()) / picture.std(), 0, 255).transpose(1, 2, 0)
        # Each frame is a moving window of it, with some noise.
        with av.open(str(root / "made" / f"{number}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=FPS, options={"crf": "23", "preset": "medium"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for index in range(NUM_FRAMES):
                top = int(150 + 120 * np.sin(index / 40 + number))
                left = int(150 + 140 * np.cos(index / 55 + number))
                frame = picture[top : top + HEIGHT, left : left + WIDTH]
                frame = np.clip(frame + rng.normal(0, 0.7, frame.shape), 0, 255).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        # Copies, because Grain's shuffle is slow below a hundred elements.
        for copy in range(1, NUM_COPIES):
            os.link(root / "made" / f"{number}.mp4", root / "made" / f"{number}_{copy}.mp4")


def main() -> None:
    """Runs the measurements and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", help="a folder class/video.ext of 100 files or more, instead of generated videos")
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds of one measurement (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each reader (default: 3)")
    parser.add_argument(
        "--clips", type=int, default=10_000, help="clips of the run that watches memory; 0 skips it (default: 10000)"
    )
    parser.add_argument("--out", help="file to which the measurements are appended as JSON lines")
    parser.add_argument("--one", nargs=4, metavar=("READER", "ROOT", "SECONDS", "CORES"), help=argparse.SUPPRESS)
    args = parser.parse_args()

    # A process that this script started for one measurement.
    if args.one:
        name, root, seconds, cores = args.one
        print(json.dumps(measure(name, root, float(seconds), int(cores))))
        return

    # All measurements.
    with tempfile.TemporaryDirectory() as folder:
        videos, store = Path(args.videos or Path(folder) / "videos"), Path(folder) / "store"
        if not args.videos:
            make_videos(videos)
        prepare = [sys.executable, "-m", "vjax", "prepare", str(videos), "--out", str(store)]
        started = time.perf_counter()
        print(subprocess.run(prepare, check=True, capture_output=True, text=True).stdout.splitlines()[0])
        print(f"prepared in {time.perf_counter() - started:.1f} s\n")
        _report(_take_turns(args, str(videos), str(store)), args)
        if args.clips:
            _watch_memory(str(store), args)


def _take_turns(args: argparse.Namespace, videos: str, store: str) -> dict[tuple[str, int], list[dict[str, float]]]:
    runs: dict[tuple[str, int], list[dict[str, float]]] = {}
    present = [name for name, (needs, _, _) in READERS.items() if importlib.util.find_spec(needs)]
    print("skipped, not installed:", ", ".join(set(READERS) - set(present)) or "none")
    for _ in range(args.rounds):
        for name in present:
            root = store if READERS[name][1] == "store" else videos
            for cores in (1, 2) if name.endswith("Grain") else (1,):
                found = _one(name, root, args.seconds, cores)
                if found:
                    runs.setdefault((name, cores), []).append(found)
    return runs


def _one(name: str, root: str, seconds: float, cores: int) -> dict[str, float] | None:
    command = [sys.executable, __file__, "--one", name, root, str(seconds), str(cores)]
    with tempfile.TemporaryDirectory() as caches:  # without the index of an earlier run, as at a first start
        env = os.environ | {"XDG_CACHE_HOME": caches}
        done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        print(f"{name} fails here: {(done.stderr.strip().splitlines() or ['?'])[-1][:160]}")
        return None
    return json.loads(done.stdout.splitlines()[-1])


def _report(runs: dict[tuple[str, int], list[dict[str, float]]], args: argparse.Namespace) -> None:
    rows = []
    about = {"machine": machine(), "versions": versions(PACKAGES), "commit": commit()}
    for (name, cores), found in runs.items():
        rates = [one["clips_per_s"] for one in found]
        row = {
            "reader": name,
            "cores": cores,
            "clips_per_s": statistics.median(rates),
            "least": min(rates),
            "most": max(rates),
            "first_s": statistics.median(one["first_s"] for one in found),
        }
        rows.append(row)
        if args.out:
            with Path(args.out).open("a") as stream:
                stream.write(json.dumps(row | about) + "\n")
    print(f"\n{about['machine']}; {about['versions']}; commit {about['commit']}\n")
    print("| reader | cores | clips/s | least to most | first clips after |\n| --- | ---: | ---: | ---: | ---: |")
    for row in rows:
        spread = f"{row['least']:.0f} to {row['most']:.0f}"
        print(f"| {row['reader']} | {row['cores']} | {row['clips_per_s']:.0f} | {spread} | {row['first_s']:.1f} s |")


def _watch_memory(store: str, args: argparse.Namespace) -> None:
    counts = _grain(store)
    total, marks = 0, []
    while total < args.clips:
        total += next(counts)
        if total >= (len(marks) + 1) * args.clips / 5:
            marks.append(f"{_memory_mb():.0f}")
    print(f"\nmemory of the process over {total:,} clips from the store, in MB: {', '.join(marks)}")


if __name__ == "__main__":
    main()
