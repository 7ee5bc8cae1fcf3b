"""The command line: `vjax COMMAND`, and what stands behind `train.py`.

Arguments go in; tables, pictures and JSON come out. What a person can act on (an InputError, a full disk, a stop that
was asked for) becomes one line on stderr and an exit code.
"""

if __name__ == "__main__":  # python -m vjax
    from vjax.memory import restart_with_tunables

    restart_with_tunables()

import argparse
import dataclasses
import errno
import functools
import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import tensorflow_datasets as tfds

from vjax import workdirs
from vjax.compare import COLUMNS, compare
from vjax.compilation import keep_compiled_programs
from vjax.config import NO_DEFAULT, PREFIX, Config, list_keys, load_config, override_choice
from vjax.data import decode, encode, prepare
from vjax.data.doctor import examine
from vjax.data.sources import LISTINGS
from vjax.data.video import open_video
from vjax.errors import InputError
from vjax.evaluation.predict import Prediction, predict, rank
from vjax.evaluation.result import describe_result, lost_in_test
from vjax.experiment import describe_cost
from vjax.memory import keep_freed_memory
from vjax.ops import filters
from vjax.processes import join_processes, leave, stop_signal
from vjax.progress import Progress
from vjax.run import train
from vjax.spec import Choice
from vjax.tables import format_table
from vjax.trained import load
from vjax.training.loop import Interrupted

SOURCE_PREFIX = "--source."
_METRICS = ("clip@1", "video@1", "video@5", "loss", "num_videos", "bad_videos")
_TOP = 5  # classes shown of a ranking
_STORAGE_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EIO,
    errno.ESTALE,
    errno.ENOTDIR,
)
EXIT_REQUEUE = 75  # EX_TEMPFAIL of sysexits.h: try again


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the `vjax` command; returns its exit code."""
    return _run(parser_of_vjax(), argv)


def train_main(argv: Sequence[str] | None = None) -> int:
    """Runs `train.py`; returns its exit code."""
    return _run(parser_of_train(), argv)


def parser_of_vjax() -> argparse.ArgumentParser:
    """Returns the arguments of the `vjax` command."""
    parser = argparse.ArgumentParser("vjax", description="Video classification in JAX/Flax.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_doctor(commands)
    _add_prepare(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_compare(commands)
    _add_cost(commands)
    _add_config_command(commands)
    _add_filter(commands)
    return parser


def parser_of_train() -> argparse.ArgumentParser:
    """Returns the arguments of `train.py`."""
    parser = argparse.ArgumentParser("train.py", description="Trains and evaluates a video network.")
    _add_config(parser)
    parser.add_argument("--workdir", help="where the run is kept (default: runs/NAME OF THE CONFIG)")
    group = parser.add_argument_group("several processes", "None is needed under Slurm and Open MPI.")
    group.add_argument(
        "--coordinator", metavar="HOST:PORT", help="address of process 0; auto on a Cloud TPU pod, alone"
    )
    group.add_argument("--num_processes", type=int, help="how many processes the run has")
    group.add_argument("--process_id", type=int, help="number of this process, from 0")
    parser.set_defaults(command=_train)
    return parser


def _run(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    args, rest = parser.parse_known_args(argv)
    overrides = [word for word in rest if word.startswith(args.overridden)] if hasattr(args, "overridden") else []
    unknown = [word for word in rest if word not in overrides]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    keep_freed_memory()
    keep_compiled_programs()
    for name in ("absl", "asyncio"):  # Orbax and TFDS warn of what is meant to be so, and log what they also raise
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        return args.command(args, overrides) or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of a pipe has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in _STORAGE_ERRORS:
            raise
        print(f"error: {error}; once that is mended, the same command goes on", file=sys.stderr)
        return 2
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return EXIT_REQUEUE
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        print(
            f"error: another process of this run has died ({str(error).splitlines()[0][:200]}); the same command, in "
            "every process, goes on from the newest checkpoint",
            file=sys.stderr,
        )
        return EXIT_REQUEUE
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the newest checkpoint", file=sys.stderr)
        return 130


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, help="a config file; FILE:tiny for its smallest version")
    parser.set_defaults(overridden=PREFIX)
    parser.epilog = "Any key of the config is set by --config.KEY=VALUE, for example --config.length=1000."


def _train(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    config = load_config(args.config, overrides)
    join_processes(coordinator=args.coordinator, num_processes=args.num_processes, process_id=args.process_id)
    workdir = Path(args.workdir or Path("runs") / Path(args.config.partition(":")[0]).stem)
    was_finished = workdirs.finished_result(workdir) is not None
    with stop_signal() as should_stop:
        result = train(config, workdir, should_stop=should_stop)
    if jax.process_index() > 0:
        return
    if was_finished:
        print(f"{workdir} holds a finished run; choose another --workdir to train again", file=sys.stderr)
    _print_metrics(result)
    print(f"\nwork directory: {workdir}")


def _add_source(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(sorted(set(LISTINGS) - {"videos"}))
    parser.add_argument("source", metavar="SOURCE", help=f"a folder, a manifest, or a data set by name: {names}")
    parser.set_defaults(overridden=SOURCE_PREFIX)
    parser.epilog = (
        f"A data set by name takes its options as {SOURCE_PREFIX}KEY=VALUE, for example {SOURCE_PREFIX}root=DIR."
    )


def _choose_source(name: str, overrides: Sequence[str]) -> Choice:
    """Returns the data set that SOURCE names: by the name of a listing, or by the root of plain videos."""
    choice = Choice(name, root="") if name in LISTINGS else Choice("videos", root=name)
    return override_choice(choice, LISTINGS, overrides, prefix=SOURCE_PREFIX)


def _add_prepare(commands: Any) -> None:
    parser = commands.add_parser("prepare", help="decode videos once, for fast training")
    _add_source(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the store")
    parser.add_argument("--short-side", type=int, default=128, help="pixels of a frame's shorter side (default: 128)")
    parser.add_argument("--fps", type=float, help="frames per second to keep (default: all)")
    parser.add_argument("--quality", type=int, default=90, help="JPEG quality of the frames, 1 to 100 (default: 90)")
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count(),
        help="how many processes decode; 0 decodes in this one (default: one for each core)",
    )
    parser.add_argument("--runner", help="an Apache Beam runner, in place of --workers: DirectRunner, FlinkRunner ...")
    parser.add_argument("--runner-args", default="", help="arguments of the Beam runner, in one string")
    parser.set_defaults(command=_prepare)


def _prepare(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    source = _choose_source(args.source, overrides)
    options = prepare.Options(args.short_side, args.fps, args.quality)
    if args.runner:
        runner = functools.partial(prepare.run_beam, runner=args.runner, arguments=shlex.split(args.runner_args))
    elif args.workers:
        runner = functools.partial(prepare.run_in_processes, num_workers=args.workers)
    else:
        runner = prepare.run_here
    with Progress(sys.stderr, unit="video") as progress:
        done = prepare.prepare(LISTINGS.create(source), source, args.out, options, run=runner, advance=progress.advance)
    print(f"{done.num_videos:,} videos, {done.num_bytes / 1e6:,.0f} MB, in {args.out}; {done.num_bad} left out")
    if done.num_bad:
        print(f"{args.out}/index.csv says why, in its last column")
    config = "folder" if source.name == "videos" else source.name
    print(f"\ntrain on it: python train.py --config configs/{config}.py --config.source.root={args.out}")


def _add_doctor(commands: Any) -> None:
    parser = commands.add_parser("doctor", help="look at a data set before training on it")
    _add_source(parser)
    parser.add_argument("--config", help="a config file, for its clip, augmentation and batch size")
    parser.add_argument("--json", metavar="FILE", help="write everything that was found")
    parser.set_defaults(command=_doctor)


def _doctor(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    config = load_config(args.config) if args.config else Config()
    source = _choose_source(args.source, overrides)
    found = examine(source, config.train_view, batch_size=config.batch_size)
    print(found.page())
    if args.json:
        _write_json(args.json, found.facts | {"problems": found.problems})


def _add_trained(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workdir", metavar="WORKDIR", help="the work directory of a training run")
    parser.add_argument(
        "--checkpoint",
        choices=("newest", "best"),
        default="newest",
        help="which checkpoint is used; best had the highest video@1 on the test split (default: newest)",
    )


def _add_evaluate(commands: Any) -> None:
    parser = commands.add_parser("evaluate", help="measure a trained network on its test split")
    _add_trained(parser)
    parser.add_argument("--clips", type=int, help="clips of a video (default: as in training)")
    parser.add_argument("--crops", type=int, choices=(1, 3), help="crops of a clip (default: as in training)")
    parser.add_argument("--json", metavar="FILE", help="write everything, every video's answer included")
    parser.set_defaults(command=_evaluate)


def _evaluate(args: argparse.Namespace, _: Sequence[str]) -> None:
    trained = load(args.workdir, checkpoint=args.checkpoint)
    source = trained.open_source()
    changes = {"num_clips": args.clips, "num_crops": args.crops}
    view = dataclasses.replace(trained.test_view, **{key: value for key, value in changes.items() if value is not None})
    evaluation = trained.evaluate(source, view)
    checkpoint = f"{args.checkpoint} checkpoint"
    if workdirs.finished_result(args.workdir) is None:
        checkpoint += f" of a run that is not finished, at step {int(trained.state.step)}"
        print(f"{args.workdir}: {checkpoint}; the same training command goes on", file=sys.stderr)
    result = describe_result(evaluation, source, view, checkpoint=checkpoint)
    by_class = dict(zip(trained.class_names, evaluation.class_accuracy, strict=True))
    for bad in lost_in_test(evaluation, source):
        print(f"a video cannot be read any more, it counts as wrong: {bad.reason}", file=sys.stderr)
    _print_metrics(result)
    print()
    print(_confusion_table(trained.class_names, evaluation.confusion, by_class))
    if args.json:
        rows = [
            {
                "name": source.test[i].name,
                "label": trained.class_names[evaluation.label[i]],
                "probs": _by_name(trained.class_names, evaluation.probs[i]),
            }
            for i in range(len(source.test))
        ]
        details = {"class_accuracy": by_class, "confusion": evaluation.confusion.tolist(), "videos": rows}
        _write_json(args.json, result | {"class_names": list(trained.class_names)} | details)


def _add_predict(commands: Any) -> None:
    parser = commands.add_parser("predict", help="name the class of videos")
    _add_trained(parser)
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="a video file")
    parser.add_argument("--json", action="store_true", help="print JSON, all classes and clips included")
    parser.set_defaults(command=_predict)


def _predict(args: argparse.Namespace, _: Sequence[str]) -> int:
    videos, errors = [], []
    for path in args.videos:
        try:
            videos.append(open_video(path))
        except decode.VideoError as error:
            errors.append(error)
    trained = load(args.workdir, checkpoint=args.checkpoint)
    predictions = predict(
        videos,
        trained.config.test_view,
        trained.infer_clips,
        batch_size=trained.config.test.batch_size,
        mesh=trained.mesh,
    )
    if args.json:
        print(json.dumps([_prediction_json(found, trained.class_names) for found in predictions], indent=2))
    else:
        print("\n\n".join(_prediction_text(found, trained.class_names) for found in predictions))
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    return 2 if errors else 0


def _add_compare(commands: Any) -> None:
    parser = commands.add_parser("compare", help="train the five networks on the same data and budget")
    _add_config(parser)
    parser.add_argument("--workdir", required=True, help="folder that the five runs and the table are kept in")
    parser.set_defaults(command=_compare)


def _compare(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    rows = compare(load_config(args.config, overrides), args.workdir)
    print(format_table(COLUMNS, [[row[column] for column in COLUMNS] for row in rows]))


def _add_cost(commands: Any) -> None:
    parser = commands.add_parser("cost", help="what a step of training takes: memory, traffic, multiply-adds")
    _add_config(parser)
    parser.add_argument("--classes", type=int, required=True, help="how many classes the data set has; it is not read")
    parser.add_argument("--devices", type=int, help="how many devices share a batch (default: those of this machine)")
    parser.set_defaults(command=_cost)


def _cost(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    num_devices = jax.device_count() if args.devices is None else args.devices
    found = describe_cost(load_config(args.config, overrides), num_classes=args.classes, num_devices=num_devices)
    print(f"{found.parameters:,} parameters, {found.multiply_adds:,} multiply-adds a clip and forward pass\n")
    memory, traffic = found.memory, found.traffic
    rows = [(name, part / 1e6) for name, part in (*memory._asdict().items(), ("total", memory.total))]
    print(format_table([f"memory of each of {num_devices} device(s)", "MB"], rows))
    rows = [
        ("all-reduce", traffic.all_reduce / 1e6),
        ("all-gather", traffic.all_gather / 1e6),
        ("sent, in a ring", traffic.sent / 1e6),
    ]
    print("\n" + format_table(["traffic of each device, a step", "MB"], rows))


def _add_config_command(commands: Any) -> None:
    parser = commands.add_parser("config", help="show every key of a config, and which differ from the default")
    parser.add_argument("file", metavar="FILE", help="a config file; FILE:tiny for its smallest version")
    parser.set_defaults(command=_show_config, overridden=PREFIX)
    parser.epilog = "Any key of the config is set by --config.KEY=VALUE, for example --config.length=1000."


def _show_config(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    for key, value, default in list_keys(load_config(args.file, overrides)):
        differs = "  (no default)" if default is NO_DEFAULT else f"  (default: {default!r})"
        print(f"{key} = {value!r}{'' if value == default else differs}")


def _add_filter(commands: Any) -> None:
    parser = commands.add_parser("filter", help="show the motion in a video")
    parser.add_argument("video", metavar="VIDEO", help="a video file")
    parser.add_argument("--op", required=True, choices=sorted(_FILTERS), help="what is shown of the motion")
    parser.add_argument("--at", type=int, help="row (xt) or column (yt); the middle one if not given")
    parser.add_argument("--window", type=int, default=9, help="frames of the running median, odd (default: 9)")
    parser.add_argument("--out", required=True, help="a PNG, GIF or MP4 file")
    parser.set_defaults(command=_filter)


def _filter(args: argparse.Namespace, _: Sequence[str]) -> None:
    frames = decode.read_video(args.video)
    fps = decode.probe(args.video).fps
    encode.write_frames(args.out, _FILTERS[args.op](frames, args), fps=fps)


def _foreground(frames: Any, _: argparse.Namespace) -> Any:
    """What moves, in its own colours on black; specks under 2 pixels are taken for noise."""
    return frames * filters.foreground_mask(frames, opening=2)[..., None]


def _slice(cut: Callable[..., Any], what: str, axis: int) -> Callable[[Any, argparse.Namespace], Any]:
    def apply(frames: Any, args: argparse.Namespace) -> Any:
        at = frames.shape[axis] // 2 if args.at is None else args.at
        return cut(frames, **{what: at})[None]

    return apply


_FILTERS: dict[str, Callable[[Any, argparse.Namespace], Any]] = {
    "median": lambda frames, args: filters.median_filter(frames, window=args.window),
    "background": lambda frames, _: filters.median_background(frames)[None],
    "foreground": _foreground,
    "xt": _slice(filters.xt_slice, "row", -3),
    "yt": _slice(filters.yt_slice, "column", -2),
}


def _print_metrics(result: Mapping[str, Any]) -> None:
    print(format_table(["result", "value"], [[name, result[name]] for name in _METRICS]))
    print(f"\n{result['protocol']}")


def _confusion_table(class_names: Sequence[str], confusion: Any, by_class: Mapping[str, float | None]) -> str:
    columns = ["label \\ answer", *class_names, "accuracy"]
    rows = [
        [name, *(int(count) for count in counts), by_class[name]]
        for name, counts in zip(class_names, confusion, strict=True)
    ]
    return format_table(columns, rows)


def _prediction_text(prediction: Prediction, class_names: Sequence[str]) -> str:
    ranked = prediction.ranked(class_names)[:_TOP]
    lines = [prediction.name, *(f"  {probability:6.1%}  {name}" for name, probability in ranked), "  by clip:"]
    for clip in prediction.clips:
        name, probability = rank(clip.probs, class_names)[0]
        lines.append(f"  {clip.start_s:6.1f} s to {clip.end_s:5.1f} s  {probability:6.1%}  {name}")
    return "\n".join(lines)


def _prediction_json(prediction: Prediction, class_names: Sequence[str]) -> dict[str, Any]:
    return {
        "name": prediction.name,
        "ranked": [{"class": name, "probability": p} for name, p in prediction.ranked(class_names)],
        "clips": [
            {
                "start_s": clip.start_s,
                "end_s": clip.end_s,
                "ranked": [{"class": name, "probability": p} for name, p in rank(clip.probs, class_names)],
            }
            for clip in prediction.clips
        ],
    }


def _by_name(class_names: Sequence[str], probs: Any) -> dict[str, float]:
    return {name: float(p) for name, p in zip(class_names, probs, strict=True)}


def _write_json(path: str, content: Any) -> None:
    try:
        Path(path).write_text(json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


if __name__ == "__main__":
    leave(main())
