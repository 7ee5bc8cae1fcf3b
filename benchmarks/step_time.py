"""Times a training step and inference of vjax, of the same network in PyTorch, and of vjax with XLA's own forms.

    python benchmarks/step_time.py [--quick] [--case NAME ...] [--layers] [--rounds 9] [--out FILE.jsonl]

This needs PyTorch, and for the published networks torchvision and PyTorchVideo: `pip install '.[torch]'`, or the builds
for your GPU. All sides start from the same weights and the same batch. Their logits, the gradient of the first training
step, and the losses of three training steps are compared before anything is timed. Then the sides take turns, and the
table shows medians and their ratios. On a GPU all sides compute in bfloat16, PyTorch with torch.compile, AMP and
channels_last_3d, and the memory is the GPU's.

Networks, clips and batches of the shipped configs are read from `configs/`. Dropout and label smoothing are left out,
because dropout draws different numbers on each side.

`--quick` measures the networks at the quickstart's size, in two minutes. `--layers` measures single layers: forward
pass, input gradient and kernel gradient.
"""

import argparse
import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from about import commit, gpus, machine, versions

from vjax.config_file import load_config
from vjax.typed import as_plain

PACKAGES = ("jax", "jaxlib", "flax", "torch")
SIDES = ("vjax", "pytorch", "xla")


@dataclasses.dataclass(frozen=True)
class Case:
    """A network, its backbone, the shape `(t h w c)` of its clips, the batch size and the number of classes.

    A network of a fixed form has no backbone: `{}`.
    """

    network: str
    backbone: dict[str, Any]
    clip_shape: tuple[int, ...]
    batch_size: int
    num_classes: int = 10


def config_case(name: str, *, network: str = "", batch_size: int = 0) -> Case:
    """Returns the case of a shipped config, with another network or batch size if given."""
    config = load_config(str(Path(__file__).parents[1] / "configs" / f"{name}.py"))
    backbone = as_plain(config.network.options["backbone"])
    if backbone.pop("norm") != "batch" or backbone.pop("remat") or backbone.pop("drop_path", 0):
        raise SystemExit(f"configs/{name}.py: the PyTorch side has only batch norm, no remat and no drop_path")
    shape = config.test_view.shape[1:]
    return Case(network or config.network.name, backbone, shape, batch_size or config.batch_size)


_SMALL, _RESNET18, _LITE0 = {"name": "small"}, {"name": "resnet18"}, {"name": "efficientnet_lite0"}
_FULL = (16, 112, 112, 3)
# Clips of the published networks that have another size.
_PUBLISHED = {
    "Karpathy, single frame": Case("karpathy_single", {}, (10, 170, 170, 3), 4),
    "Karpathy, early fusion": Case("karpathy_early", {}, (10, 170, 170, 3), 4),
    "Karpathy, late fusion": Case("karpathy_late", {}, (16, 170, 170, 3), 4),
    "Karpathy, slow fusion": Case("karpathy_slow", {}, (10, 170, 170, 3), 4),
    "S3D": Case("s3d", {}, (16, 224, 224, 3), 1),
    "X3D-S": Case("x3d_s", {}, (13, 160, 160, 3), 1),
    "X3D-M": Case("x3d_m", {}, (16, 224, 224, 3), 1),
    "SlowFast 8x8 R50": Case("slowfast_r50", {}, (32, 224, 224, 3), 1),
}
# C3D's first six convolutions (Tran et al. 2015) with norms. Every pool, also the first, halves time too.
_C3D_LIKE = {"name": "small", "widths": (64, 128, 256, 512), "depth": (1, 1, 2, 2)}

QUICK = {
    f"{name}, quickstart": config_case("quickstart", network=name)
    for name in ("single_frame", "late_pool", "late_concat", "early_fusion", "slow_fusion")
}
# Steps of the shipped configs. hmdb51, kinetics and something_something train the same network as ucf101, on clips of
# the same shape, 32 at a time.
RECIPES = {
    "slow_fusion, weizmann": config_case("weizmann"),
    "slow_fusion, folder": config_case("folder"),
    "slow_fusion, folder, batch of 4": config_case("folder", batch_size=4),
    "R3D-18, ucf101, batch of 4": config_case("ucf101", batch_size=4),
}
CASES = (
    QUICK
    | {"small 3D CNN": Case("slow_fusion", _SMALL | {"widths": (32, 64, 128)}, (16, 64, 64, 3), 4)}
    | RECIPES
    | {
        "single_frame, resnet18": Case("single_frame", _RESNET18, _FULL, 1),
        "single_frame, lite0": Case("single_frame", _LITE0, _FULL, 1),
        "slow_fusion, lite0": Case("slow_fusion", _LITE0, _FULL, 1),
        "late_pool, resnet18": Case("late_pool", _RESNET18, _FULL, 1),
        "late_concat, resnet18": Case("late_concat", _RESNET18, _FULL, 1),
        "early_fusion, resnet18": Case("early_fusion", _RESNET18, _FULL, 4),
        "C3D-like": Case("slow_fusion", _C3D_LIKE, _FULL, 1),
        "C3D": Case("c3d", {}, _FULL, 1),
        "R3D-18": Case("r3d_18", {}, _FULL, 1),
        "MC3-18": Case("mc3_18", {}, _FULL, 1),
        "R(2+1)D-18": Case("slow_fusion", _RESNET18 | {"factored": True}, _FULL, 1),
        "R(2+1)D-18, torchvision": Case("r2plus1d_18", {}, _FULL, 1),
    }
    | _PUBLISHED
)

# Full batches that need more memory than a small machine has: measured only with `--case`.
LARGE = {"R3D-18, ucf101": config_case("ucf101")}

# Layers of the networks above: (shape of the clips, shape of the kernel, strides).
LAYERS: dict[str, list[tuple[Any, Any, Any]]] = {
    "slow_fusion, quickstart": [
        ((16, 8, 32, 32, 3), (3, 3, 3, 3, 16), (1, 1, 1)),
        ((16, 4, 16, 16, 16), (3, 3, 3, 16, 32), (1, 1, 1)),
        ((16, 2, 8, 8, 32), (3, 3, 3, 32, 64), (1, 1, 1)),
    ],
    "single_frame, quickstart": [
        ((128, 1, 32, 32, 3), (1, 3, 3, 3, 16), (1, 1, 1)),
        ((128, 1, 16, 16, 16), (1, 3, 3, 16, 32), (1, 1, 1)),
        ((128, 1, 8, 8, 32), (1, 3, 3, 32, 64), (1, 1, 1)),
    ],
    "small 3D CNN": [
        ((4, 16, 64, 64, 3), (3, 3, 3, 3, 32), (1, 1, 1)),
        ((4, 8, 32, 32, 32), (3, 3, 3, 32, 64), (1, 1, 1)),
        ((4, 4, 16, 16, 64), (3, 3, 3, 64, 128), (1, 1, 1)),
    ],
    "C3D": [
        ((1, 16, 112, 112, 3), (3, 3, 3, 3, 64), (1, 1, 1)),
        ((1, 8, 56, 56, 64), (3, 3, 3, 64, 128), (1, 1, 1)),
        ((1, 4, 28, 28, 128), (3, 3, 3, 128, 256), (1, 1, 1)),
        ((1, 4, 28, 28, 256), (3, 3, 3, 256, 256), (1, 1, 1)),
        ((1, 2, 14, 14, 256), (3, 3, 3, 256, 512), (1, 1, 1)),
        ((1, 2, 14, 14, 512), (3, 3, 3, 512, 512), (1, 1, 1)),
    ],
    "R3D-18": [
        ((1, 16, 112, 112, 3), (3, 7, 7, 3, 64), (1, 2, 2)),
        ((1, 16, 56, 56, 64), (3, 3, 3, 64, 64), (1, 1, 1)),
        ((1, 16, 56, 56, 64), (3, 3, 3, 64, 128), (2, 2, 2)),
        ((1, 16, 56, 56, 64), (1, 1, 1, 64, 128), (2, 2, 2)),
        ((1, 8, 28, 28, 128), (3, 3, 3, 128, 128), (1, 1, 1)),
        ((1, 8, 28, 28, 128), (3, 3, 3, 128, 256), (2, 2, 2)),
        ((1, 4, 14, 14, 256), (3, 3, 3, 256, 256), (1, 1, 1)),
        ((1, 4, 14, 14, 256), (3, 3, 3, 256, 512), (2, 2, 2)),
        ((1, 2, 7, 7, 512), (3, 3, 3, 512, 512), (1, 1, 1)),
    ],
    "R(2+1)D-18": [
        ((1, 16, 112, 112, 3), (1, 7, 7, 3, 83), (1, 2, 2)),
        ((1, 16, 56, 56, 83), (3, 1, 1, 83, 64), (1, 1, 1)),
        ((1, 16, 56, 56, 64), (1, 3, 3, 64, 144), (1, 1, 1)),
        ((1, 16, 56, 56, 144), (3, 1, 1, 144, 64), (1, 1, 1)),
        ((1, 16, 56, 56, 64), (1, 3, 3, 64, 230), (1, 2, 2)),
        ((1, 16, 28, 28, 230), (3, 1, 1, 230, 128), (2, 1, 1)),
        ((1, 8, 28, 28, 128), (1, 3, 3, 128, 288), (1, 1, 1)),
        ((1, 8, 28, 28, 288), (3, 1, 1, 288, 128), (1, 1, 1)),
        ((1, 2, 7, 7, 512), (1, 3, 3, 512, 1152), (1, 1, 1)),
        ((1, 2, 7, 7, 1152), (3, 1, 1, 1152, 512), (1, 1, 1)),
    ],
    "single_frame, resnet18": [
        ((16, 1, 112, 112, 3), (1, 7, 7, 3, 64), (1, 2, 2)),
        ((16, 1, 56, 56, 64), (1, 3, 3, 64, 64), (1, 1, 1)),
        ((16, 1, 28, 28, 128), (1, 3, 3, 128, 128), (1, 1, 1)),
        ((16, 1, 14, 14, 256), (1, 3, 3, 256, 512), (1, 2, 2)),
        ((16, 1, 7, 7, 512), (1, 3, 3, 512, 512), (1, 1, 1)),
    ],
    "early_fusion, resnet18": [
        ((4, 1, 112, 112, 48), (1, 7, 7, 48, 64), (1, 2, 2)),
        ((4, 1, 56, 56, 64), (1, 3, 3, 64, 64), (1, 1, 1)),
        ((4, 1, 7, 7, 512), (1, 3, 3, 512, 512), (1, 1, 1)),
    ],
}
# Depthwise layers: the kernels have one input channel.
LAYERS["single_frame, lite0"] = [
    ((16, 1, 56, 56, 32), (1, 3, 3, 1, 32), (1, 1, 1)),
    ((16, 1, 56, 56, 96), (1, 3, 3, 1, 96), (1, 2, 2)),
    ((16, 1, 28, 28, 144), (1, 3, 3, 1, 144), (1, 1, 1)),
    ((16, 1, 28, 28, 144), (1, 5, 5, 1, 144), (1, 2, 2)),
    ((16, 1, 14, 14, 240), (1, 5, 5, 1, 240), (1, 1, 1)),
    ((16, 1, 14, 14, 240), (1, 3, 3, 1, 240), (1, 2, 2)),
    ((16, 1, 7, 7, 480), (1, 3, 3, 1, 480), (1, 1, 1)),
    ((16, 1, 7, 7, 672), (1, 5, 5, 1, 672), (1, 1, 1)),
    ((16, 1, 7, 7, 672), (1, 5, 5, 1, 672), (1, 2, 2)),
    ((16, 1, 4, 4, 1152), (1, 5, 5, 1, 1152), (1, 1, 1)),
    ((16, 1, 112, 112, 32), (1, 3, 3, 1, 32), (1, 1, 1)),
    ((16, 1, 112, 112, 96), (1, 3, 3, 1, 96), (1, 2, 2)),
    ((16, 1, 28, 28, 240), (1, 5, 5, 1, 240), (1, 1, 1)),
    ((16, 1, 14, 14, 672), (1, 5, 5, 1, 672), (1, 1, 1)),
]
LAYERS["slow_fusion, lite0"] = [
    ((1, 13, 80, 80, 54), (3, 3, 3, 1, 54), (1, 2, 2)),
    ((1, 13, 40, 40, 54), (3, 3, 3, 1, 54), (1, 1, 1)),
    ((1, 13, 20, 20, 108), (3, 3, 3, 1, 108), (1, 1, 1)),
    ((1, 13, 10, 10, 216), (3, 3, 3, 1, 216), (1, 1, 1)),
]
PARTS = ("forward", "input gradient", "kernel gradient")


class Worker:
    """The process of one side."""

    def __init__(self, side: str, *, half: bool):
        self.side = side
        command = [sys.executable, str(Path(__file__).with_name("step_worker.py")), side]
        command += ["--threads", str(len(os.sched_getaffinity(0))), *(["--half"] if half else [])]
        environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # both sides share a GPU's memory
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, action: str, **kwargs: Any) -> Any:
        """Sends a request to the process and returns its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"do": action} | kwargs), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.side} stopped during {action!r}; its error output is above")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def measure_case(name: str, sides: tuple[str, ...], *, rounds: int, half: bool, size: int) -> dict[str, Any]:
    """Returns all measurements of a network."""
    # The networks, with the same weights; their logits, losses and gradients.
    case = dataclasses.asdict((CASES | LARGE)[name])
    workers = {side: Worker(side, half=half) for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        weights = f"{folder}/weights.npz"
        found = {side: worker.ask("load", case=case, weights=weights) for side, worker in workers.items()}
        first = {side: worker.ask("first", gradient=f"{folder}/{side}.npz") for side, worker in workers.items()}
        gradients = {side: dict(np.load(f"{folder}/{side}.npz")) for side in sides}

    # All sides must compute the same.
    row: dict[str, Any] = {"case": name} | case
    for side in sides[1:]:
        what = f"{name}: {sides[0]} and {side}"
        deep = case["backbone"].get("name") != "small"
        error = _check_gradients(gradients[sides[0]], gradients[side], what=what, half=half, deep=deep)
        row[f"gradient_off_{side}"] = error
        _check_same(first[sides[0]], first[side], what=what, half=half, deep=deep)

    # The sides take turns.
    memory = {side: [worker.ask("memory", reset=True)] for side, worker in workers.items()}
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for what in ("train", "infer"):
            for side, worker in workers.items():
                # XLA's own forms are slow, and their ratio is large, so one turn is enough.
                if side != "xla" or (side, what) not in seconds:
                    seconds.setdefault((side, what), []).extend(worker.ask(what, seconds=0.3))
    peak = max(worker.ask("peak", size=size) for worker in workers.values())
    for side, worker in workers.items():
        memory[side].append(worker.ask("memory"))
        worker.close()

    # The numbers of each side.
    adds = found["vjax"]["multiply_adds"] * case["batch_size"]
    for side in sides:
        step, infer = (statistics.median(seconds[side, what]) for what in ("train", "infer"))
        row[side] = {
            "step_ms": step * 1e3,
            "infer_ms": infer * 1e3,
            "infer_clips_per_s": case["batch_size"] / infer,
            "peak_share_step": 6 * adds / step / peak,
            "peak_share_infer": 2 * adds / infer / peak,
            "memory_mb": memory[side][1],
            "memory_with_compilation_mb": max(memory[side]),
        } | {key: value for key, value in found[side].items() if key != "multiply_adds"}
    row["multiply_adds"], row["matmul_gflops"] = found["vjax"]["multiply_adds"], peak / 1e9
    return row


def _check_same(one: dict[str, Any], other: dict[str, Any], *, what: str, half: bool, deep: bool) -> None:
    """Exits with an error if the logits of two sides, or their losses of three steps, differ.

    The losses of a deep network differ with its gradients: by 6e-3 in S3D (see `_check_gradients`).
    """
    for key, tolerance in (("logits", 0.1 if half else 1e-4), ("losses", 0.1 if half else 1e-2 if deep else 1e-3)):
        a, b = np.asarray(one[key]), np.asarray(other[key])
        error = np.abs(a - b).max() / np.abs(a).max()
        if not error < tolerance:
            raise SystemExit(f"{what} do not compute the same {key}: relative error {error:.2g}\n{a}\n{b}")


def _check_gradients(one: dict[str, Any], other: dict[str, Any], *, what: str, half: bool, deep: bool) -> float:
    """Returns the relative error between two gradients; exits with an error if it is too large for rounding.

    The relative error is the norm of the difference, divided by the norm of the other side's gradient. If two elements
    of a pool's window are nearly equal, or a ReLU's input is nearly 0, rounding decides which way the gradient goes. If
    a share e of the activations differs in this way, the error is sqrt(e): 3e-4 in the small networks (e near 1e-7),
    3e-3 in C3D at a batch of 1, where XLA's own forms are as far from float64, 6e-3 to 3e-2 after the 17 ReLUs of
    ResNet-18 and the 33 of R(2+1)D-18, and up to 7e-2 in S3D, SlowFast and X3D. For these, the proof is the comparison
    with float64 in the tests. In a small network, a wrong gradient has an error of 4e-2 or more.
    """
    if one.keys() != other.keys():
        raise SystemExit(f"{what} have gradients of different parameters: {sorted(one.keys() ^ other.keys())}")
    off = {name: float(np.linalg.norm(one[name] - other[name])) for name in one}
    size = {name: float(np.linalg.norm(other[name])) for name in one}
    error = math.hypot(*off.values()) / math.hypot(*size.values())
    if not error < (0.5 if half else 0.1 if deep else 1e-2):
        by_name = "\n".join(f"{name}: {off[name] / size[name]:.2g}" for name in one)
        raise SystemExit(f"{what} do not compute the same gradient: relative error {error:.2g}\n{by_name}")
    return error


def measure_layers(name: str, sides: tuple[str, ...], *, rounds: int, half: bool) -> list[dict[str, Any]]:
    """Returns the milliseconds of every listed layer of a network."""
    workers, rows = {side: Worker(side, half=half) for side in sides}, []
    for x, kernel, strides in LAYERS[name]:
        row: dict[str, Any] = {"case": name, "x": x, "kernel": kernel, "strides": strides}
        for worker in workers.values():
            worker.ask("layer_load", x=x, kernel=kernel, strides=strides)
        for which, part in enumerate(PARTS):
            found = {side: [] for side in sides}
            for _ in range(rounds):
                for side, worker in workers.items():
                    found[side].append(worker.ask("layer", which=which, seconds=0.15))
            row[part] = {side: statistics.median(times) * 1e3 for side, times in found.items()}
        rows.append(row)
    for worker in workers.values():
        worker.close()
    return rows


CASE_HEAD = (
    "| network | step ms | PyTorch / vjax | XLA / vjax | inference clips/s | PyTorch / vjax | XLA / vjax "
    "| share of peak, step | memory MB | of PyTorch's | planned by XLA | gradient off PyTorch's | compile s |\n"
    + "| --- |"
    + " ---: |" * 12
)


def case_line(row: dict[str, Any]) -> str:
    """Returns the table row of a network."""
    vjax, pytorch = row["vjax"], row["pytorch"]

    def ratio(key: str, side: str) -> str:
        return f"{row[side][key] / vjax[key]:.2f}" if side in row else "-"

    return (
        f"| {row['case']} | {vjax['step_ms']:.1f} | {ratio('step_ms', 'pytorch')} | {ratio('step_ms', 'xla')} "
        f"| {vjax['infer_clips_per_s']:.1f} | {ratio('infer_ms', 'pytorch')} | {ratio('infer_ms', 'xla')} "
        f"| {vjax['peak_share_step']:.0%} | {vjax['memory_mb']:.0f} | {vjax['memory_mb'] / pytorch['memory_mb']:.2f} "
        f"| {vjax['planned_mb']:.0f} | {row['gradient_off_pytorch']:.0e} | {vjax['compile_s']:.1f} |"
    )


LAYER_HEAD = "| network | clips | kernel | stride | " + " | ".join(PARTS) + " |\n|" + " --- |" * 4 + " ---: |" * 3


def layer_line(row: dict[str, Any]) -> str:
    """Returns the table row of a layer: milliseconds of vjax, then the times of PyTorch and XLA divided by them."""
    cells = []
    for part in PARTS:
        times = row[part]
        others = ", ".join(f"{times[side] / times['vjax']:.2f}" for side in times if side != "vjax")
        cells.append(f"{times['vjax']:.2f} ({others})")
    shapes = (" ".join(map(str, row[key])) for key in ("x", "kernel", "strides"))
    return f"| {row['case']} | {' | '.join(shapes)} | {' | '.join(cells)} |"


def main() -> None:
    """Runs the measurements and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only the quickstart's networks, without XLA's own forms")
    parser.add_argument("--case", action="append", choices=CASES | LARGE, help="network to measure; may be repeated")
    parser.add_argument("--layers", action="store_true", help="measure single layers instead of networks")
    parser.add_argument("--no-xla", action="store_true", help="skip XLA's own forms, which take the longest")
    parser.add_argument("--rounds", type=int, help="turns of each side (default: 9, with --quick 5)")
    parser.add_argument("--out", help="file to which the measurements are appended as JSON lines")
    args = parser.parse_args()

    # What to measure.
    on_gpu = bool(gpus())
    sides = SIDES[:2] if args.no_xla or args.quick else SIDES
    rounds = args.rounds or (5 if args.quick else 9)
    names = args.case or list(QUICK if args.quick else CASES)

    # The measurements; each row is printed at once.
    print(f"{machine()}; {versions(PACKAGES)}; commit {commit()}\n")
    print(LAYER_HEAD if args.layers else CASE_HEAD, flush=True)
    for name in names:
        if args.layers:
            rows = measure_layers(name, sides, rounds=rounds, half=on_gpu) if name in LAYERS else []
        else:
            size = 8192 if on_gpu else 3072
            rows = [measure_case(name, sides, rounds=rounds, half=on_gpu, size=size)]
        for row in rows:
            print(layer_line(row) if args.layers else case_line(row), flush=True)
            if args.out:
                about = {"machine": machine(), "versions": versions(PACKAGES), "commit": commit()}
                with Path(args.out).open("a") as stream:
                    stream.write(json.dumps(row | about) + "\n")


if __name__ == "__main__":
    main()
