"""One side of `step_time.py`: a process that holds a network and runs it on request.

    python benchmarks/step_worker.py vjax|xla|pytorch --threads N [--half]

Each line of standard input is a JSON object, `{"do": METHOD OF Session, ...}`; the answer to it is a line of JSON.
"xla" is vjax with XLA's own forms of convolution, norm and max pool. Each side is a separate process with its own
threads and memory; only one computes at a time.
"""

import argparse
import dataclasses
import functools
import json
import math
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 1e-4, 0.9, 1e-4
MEAN, STD = 0.45, 0.225


class Jax:
    """vjax, or vjax with XLA's own convolution, norm and max pool."""

    def __init__(self, *, native: bool, half: bool):
        import flax.linen as nn
        import jax

        from vjax.layers import conv, conv_forms, depthwise, depthwise_forms, norm

        self.dtype = "bfloat16" if half else "float32"
        self.jax = jax
        if native:

            def by_xla(x_shape: Any, kernel_shape: Any, strides: Any) -> Any:
                convolve = functools.partial(conv_forms.native, strides=strides)

                def input_gradient(grad: Any, kernel: Any) -> Any:
                    x = jax.ShapeDtypeStruct(x_shape, grad.dtype)
                    return jax.linear_transpose(lambda x: convolve(x, kernel), x)(grad)[0]

                def kernel_gradient(x: Any, grad: Any) -> Any:
                    kernel = jax.ShapeDtypeStruct(kernel_shape, x.dtype)
                    return jax.linear_transpose(lambda kernel: convolve(x, kernel), kernel)(grad)[0]

                return conv.Forms(convolve, input_gradient, kernel_gradient)

            def pool_by_xla(x: Any, window: Any) -> Any:
                return nn.max_pool(x, window, window)

            def norm_by_xla(x: Any, scale: Any, bias: Any, window: Any, epsilon: float) -> Any:
                axes = tuple(range(x.ndim - 1))
                mean, variance = x.mean(axes), x.var(axes)
                out = (x - mean) * (scale * jax.lax.rsqrt(variance + epsilon)) + bias
                return out if window == norm.NO_POOL else pool_by_xla(out, window), mean, variance

            def depthwise_by_xla(x: Any, kernel: Any, strides: Any, before: Any) -> Any:
                return depthwise_forms.native(x, kernel, strides=strides, before=before)

            conv.on_cpu, norm.max_pool, norm.normalize_batch = by_xla, pool_by_xla, norm_by_xla
            depthwise._conv = depthwise_by_xla

    def load(self, case: dict[str, Any], weights: str) -> dict[str, Any]:
        """Creates and compiles the network of a case; writes its weights to the file if that does not exist.

        A second file, with the ending .json, gets the names that the published form in PyTorch has for them.
        """
        import flax.traverse_util

        from vjax import mesh as meshes
        from vjax import models
        from vjax.models import registry
        from vjax.models.cost import multiply_adds
        from vjax.ops.clip_input import ClipInput, Normalization
        from vjax.spec import Choice
        from vjax.training import optim
        from vjax.training import step as steps
        from vjax.training.wrappers import checked_finite, sharded

        # The network and its initial state.
        jax, jnp = self.jax, self.jax.numpy
        shape = tuple(case["clip_shape"])
        mesh = meshes.make_mesh(jax.devices()[:1])
        options = {"backbone": case["backbone"]} if case["backbone"] else {}
        network = models.create(case["network"], case["num_classes"], dropout=0.0, dtype=self.dtype, **options)
        optimizer, _ = optim.create_optimizer(
            Choice("sgd", learning_rate=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY),
            num_steps=1_000_000,
        )
        state = steps.init_state(network, optimizer, key=jax.random.key(0), clip_shape=shape)

        # The weights, which all sides read from one file.
        flatten = functools.partial(flax.traverse_util.flatten_dict, sep="/")
        unflatten = functools.partial(flax.traverse_util.unflatten_dict, sep="/")
        if not Path(weights).exists():
            varied: Any = _vary({**flatten(state.params), **flatten(state.batch_stats)})
            np.savez(weights, **varied)
            torch_names = registry.torch_names_of(Choice(case["network"])) if not options else None
            names = torch_names(state.variables) if torch_names else {}
            # Without the collection: "params/conv1/kernel" is "conv1/kernel".
            bare = {path.partition("/")[2]: name for path, name in names.items()}
            Path(weights).with_suffix(".json").write_text(json.dumps(bare))
        arrays = dict(np.load(weights))
        state = dataclasses.replace(
            state,
            params=unflatten({name: jnp.asarray(arrays[name]) for name in flatten(state.params)}),
            batch_stats=unflatten({name: jnp.asarray(arrays[name]) for name in flatten(state.batch_stats)}),
        )

        # The compiled step and the compiled inference.
        clip_input = ClipInput(normalization=Normalization((MEAN, MEAN, MEAN), (STD, STD, STD)))
        grad_fn = sharded(steps.make_grad_fn(network, clip_input=clip_input), meshes.data_parallel(mesh))
        function = functools.partial(steps.train_step, grad_fn=grad_fn, optimizer=optimizer, key=jax.random.key(0))
        function = checked_finite(function, skip=False)
        batch = make_batch(case)
        state = jax.device_put(state, meshes.replicated(mesh))
        compiled: Any = steps.compile_step(function, state, batch, mesh)
        self.batch = meshes.put_batch(batch, mesh)

        def logits(variables: Any, clips: Any) -> Any:
            return network.apply(variables, clip_input(clips), train=False)

        started = time.perf_counter()
        self.logits = jax.jit(logits).lower(state.variables, self.batch["clips"]).compile()
        infer_compile_s = time.perf_counter() - started
        self.state, self.run = state, compiled.run
        plan = compiled.run.memory_analysis()
        return {
            # Memory that XLA plans for a step, without the state and the batch.
            "planned_mb": plan.temp_size_in_bytes / 2**20,
            "compile_s": compiled.compile_s,
            "infer_compile_s": infer_compile_s,
            "multiply_adds": multiply_adds(network, shape),
        }

    def infer(self) -> Any:
        """Returns the logits `(b v k)` of the batch."""
        return np.asarray(self.logits(self.state.variables, self.batch["clips"]), np.float32)

    def train(self) -> float:
        """Takes a step; returns its loss."""
        self.state, sums = self.run(self.state, self.batch)
        total, count = sums["loss"]
        return float(total) / float(count)

    def gradient(self) -> tuple[float, dict[str, np.ndarray]]:
        """Takes the first step; returns its loss, and its gradient by the parameters' paths."""
        import flax.traverse_util
        import optax

        # Copied to the host, because the step donates its state.
        before = self.jax.device_get(self.state.params)
        loss = self.train()
        # After one step, the momentum is the gradient plus the weight decay of the kernels.
        momentum = optax.tree.get(self.state.opt_state, "trace")
        gradient: Any = self.jax.tree.map(
            lambda m, p: np.asarray(m) - WEIGHT_DECAY * p * (p.ndim > 1), momentum, before
        )
        named: Any = flax.traverse_util.flatten_dict(gradient, sep="/")
        return loss, named

    def gpu_memory(self, *, reset: bool) -> float | None:
        """Returns the peak bytes of arrays on the GPU, or None without a GPU; JAX cannot reset the peak."""
        stats = self.jax.devices()[0].memory_stats()
        return stats and stats["peak_bytes_in_use"]

    def matmul(self, size: int) -> None:
        """Multiplies two square matrices."""
        self.jax.block_until_ready(_matmul(self.jax, size, self.dtype))

    def layer(self, x: np.ndarray, kernel: np.ndarray, strides: Any) -> Any:
        """Returns three functions: the layer, its input's gradient, its kernel's gradient."""
        from vjax.layers.conv import space_time_conv
        from vjax.layers.depthwise import depthwise_conv

        jax = self.jax
        arrays = [jax.numpy.asarray(array, self.dtype) for array in (x, kernel)]
        depthwise = kernel.shape[3] == 1 < x.shape[-1]
        apply = functools.partial(depthwise_conv if depthwise else space_time_conv, strides=tuple(strides))
        grad = jax.numpy.ones_like(jax.eval_shape(apply, *arrays))
        functions = [
            jax.jit(lambda x, kernel, grad: apply(x, kernel)),
            jax.jit(lambda x, kernel, grad: jax.vjp(lambda x: apply(x, kernel), x)[1](grad)),
            jax.jit(lambda x, kernel, grad: jax.vjp(lambda kernel: apply(x, kernel), kernel)[1](grad)),
        ]
        return [lambda function=function: jax.block_until_ready(function(*arrays, grad)) for function in functions]


class PyTorch:
    """The same networks in PyTorch with channels_last_3d, and on a GPU with torch.compile and AMP in bfloat16."""

    def __init__(self, *, threads: int, half: bool):
        import torch  # pyright: ignore[reportMissingImports]

        torch.set_num_threads(threads)
        self.torch, self.half = torch, half
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cudnn.benchmark = True

    def load(self, case: dict[str, Any], weights: str) -> dict[str, Any]:
        """Creates the network of a case, with the weights of a file."""
        import pytorch_networks

        torch = self.torch
        network: Any = pytorch_networks.create(
            case["network"], case["num_classes"], case["backbone"], tuple(case["clip_shape"])
        )
        arrays = {name: torch.from_numpy(array) for name, array in np.load(weights).items()}
        pytorch_networks.load(network, arrays, json.loads(Path(weights).with_suffix(".json").read_text()))
        network = network.to(self.device, memory_format=torch.channels_last_3d)
        matrices = [p for p in network.parameters() if p.ndim > 1]
        vectors = [p for p in network.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.SGD(groups, lr=LEARNING_RATE, momentum=MOMENTUM)
        batch = make_batch(case)
        self.clips = torch.from_numpy(batch["clips"]).to(self.device)
        self.label = torch.from_numpy(batch["label"]).long().to(self.device)
        self.network, self.call = network, torch.compile(network) if self.device.type == "cuda" else network
        return {}

    def _logits(self) -> Any:
        x = (self.clips.permute(0, 4, 1, 2, 3).float() / 255 - MEAN) / STD
        with self.torch.autocast(self.device.type, self.torch.bfloat16, enabled=self.half):
            return self.call(x).float()

    def infer(self) -> Any:
        """Returns the logits `(b v k)` of the batch."""
        self.network.eval()
        with self.torch.inference_mode():
            return self._logits().cpu().numpy()

    def train(self) -> float:
        """Takes a step; returns its loss."""
        self.network.train()
        logits = self._logits()
        labels = self.label.repeat_interleave(logits.shape[1])
        loss = self.torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def gradient(self) -> tuple[float, dict[str, np.ndarray]]:
        """Takes the first step; returns its loss, and its gradient by the parameters' paths in flax."""
        import pytorch_networks

        loss = self.train()
        return loss, {name: grad.cpu().numpy() for name, grad in pytorch_networks.gradients(self.network).items()}

    def gpu_memory(self, *, reset: bool) -> float | None:
        """Returns the peak bytes of tensors on the GPU since the last reset, or None without a GPU."""
        if self.device.type == "cpu":
            return None
        most = self.torch.cuda.max_memory_allocated()
        if reset:
            self.torch.cuda.reset_peak_memory_stats()
        return most

    def matmul(self, size: int) -> None:
        """Multiplies two square matrices."""
        dtype = self.torch.bfloat16 if self.half else self.torch.float32
        matrix = self.torch.ones(size, size, dtype=dtype, device=self.device)
        (matrix @ matrix)[0, 0].item()

    def layer(self, x: np.ndarray, kernel: np.ndarray, strides: Any) -> Any:
        """Returns three functions: the layer, its input's gradient, its kernel's gradient."""
        torch, grads = self.torch, self.torch.nn.grad
        dtype = torch.bfloat16 if self.half else torch.float32
        place: Any = {"device": self.device, "dtype": dtype, "memory_format": torch.channels_last_3d}
        clips: Any = torch.from_numpy(x).permute(0, 4, 1, 2, 3).to(**place)
        weight = torch.from_numpy(kernel).permute(4, 3, 0, 1, 2).to(**place)
        pads = tuple((size - 1) // 2 for size in kernel.shape[:3])
        options = {"stride": tuple(strides), "padding": pads, "groups": x.shape[-1] // kernel.shape[3]}
        conv, to_input, to_kernel = torch.nn.functional.conv3d, grads.conv3d_input, grads.conv3d_weight
        if options["groups"] > 1 and len(kernel) == x.shape[1] == 1:
            # PyTorch computes depthwise convolutions of frames faster in 2D.
            clips = clips[:, :, 0].contiguous(memory_format=torch.channels_last)
            weight = weight[:, :, 0].contiguous()
            options |= {"stride": tuple(strides[1:]), "padding": pads[1:]}
            conv, to_input, to_kernel = torch.nn.functional.conv2d, grads.conv2d_input, grads.conv2d_weight
        grad = torch.ones_like(conv(clips, weight, **options))

        def synchronized(function: Any) -> Any:
            def run() -> None:
                function()
                if self.device.type == "cuda":
                    torch.cuda.synchronize()

            return run

        return [
            synchronized(lambda: conv(clips, weight, **options)),
            synchronized(lambda: to_input(clips.shape, weight, grad, **options)),
            synchronized(lambda: to_kernel(clips, weight.shape, grad, **options)),
        ]


def make_batch(case: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns random clips and labels, the same in every process.

    The clips are noise, so that no two elements of a pool's window are equal above zero: frameworks break ties
    differently.
    """
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (case["batch_size"], *case["clip_shape"]), dtype=np.uint8)
    return {"clips": clips, "label": rng.integers(0, case["num_classes"], case["batch_size"]).astype(np.int32)}


def _vary(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns weights with random norms: in a new network, a scale of zero hides the layers before it."""
    rng, varied = np.random.default_rng(0), {}
    for name, array in arrays.items():
        leaf = name.rpartition("/")[2]
        low, high = {"scale": (0.5, 1.0), "var": (0.5, 1.0), "bias": (-0.1, 0.1), "mean": (-0.1, 0.1)}.get(leaf, (0, 0))
        varied[name] = np.asarray(array) if leaf == "kernel" else rng.uniform(low, high, array.shape).astype(np.float32)
    return varied


@functools.cache
def _square(jax: Any, size: int, dtype: str) -> Any:
    return jax.numpy.ones((size, size), dtype), jax.jit(lambda matrix: matrix @ matrix)


def _matmul(jax: Any, size: int, dtype: str) -> Any:
    matrix, product = _square(jax, size, dtype)
    return product(matrix)


def timed(function: Any, seconds: float) -> list[float]:
    """Returns the seconds of each call; there are two or more, and they take about the given time.

    The first call is not counted: training calls the same function again and again, but the first call after another
    function finds the caches and the allocator in the state that the other function left.
    """
    function()
    found: list[float] = []
    while len(found) < 2 or sum(found) < seconds:
        started = time.perf_counter()
        function()
        found.append(time.perf_counter() - started)
    return found


class Session:
    """Answers the requests of `step_time.py`."""

    def __init__(self, side: Jax | PyTorch):
        self.side = side
        self.functions: Any = []
        self.resident_mb = _status_mb("VmRSS")

    def load(self, case: dict[str, Any], weights: str) -> dict[str, Any]:
        """Creates the network of a case."""
        return self.side.load(case, weights)

    def first(self, gradient: str) -> dict[str, Any]:
        """Returns logits and the losses of three steps, and writes the first step's gradient to a file."""
        logits = self.side.infer().tolist()
        loss, arrays = self.side.gradient()
        named: Any = arrays
        np.savez(gradient, **named)
        return {"logits": logits, "losses": [loss, self.side.train(), self.side.train()]}

    def train(self, seconds: float) -> list[float]:
        """Returns the seconds of each of several training steps."""
        return timed(self.side.train, seconds)

    def infer(self, seconds: float) -> list[float]:
        """Returns the seconds of each of several inferences."""
        return timed(self.side.infer, seconds)

    def peak(self, size: int) -> float:
        """Returns the operations per second of a product of two square matrices of a size."""
        self.side.matmul(size)
        return 2 * size**3 / min(timed(lambda: self.side.matmul(size), 0.5))

    def layer_load(self, x: list[int], kernel: list[int], strides: list[int]) -> None:
        """Creates a layer with random clips and a random kernel."""
        rng = np.random.default_rng(0)
        clips = rng.standard_normal(x, np.float32)
        weights = rng.standard_normal(kernel, np.float32) / math.sqrt(math.prod(kernel[:4]))
        self.functions = self.side.layer(clips, weights, strides)
        for function in self.functions:
            function()

    def layer(self, which: int, seconds: float) -> float:
        """Returns the median seconds of a layer's forward pass (0), input gradient (1) or kernel gradient (2)."""
        return statistics.median(timed(self.functions[which], seconds))

    def memory(self, reset: bool = False) -> float:
        """Returns the peak megabytes since the last reset: of the GPU, or of the process without its imports."""
        on_gpu = self.side.gpu_memory(reset=reset)
        if on_gpu is not None:
            return on_gpu / 2**20
        found = _status_mb("VmHWM") - self.resident_mb
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        return found


def _status_mb(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def main() -> None:
    """Answers requests until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=("vjax", "xla", "pytorch"), help="side to run")
    parser.add_argument("--threads", type=int, required=True, help="threads of PyTorch")
    parser.add_argument("--half", action="store_true", help="compute in bfloat16")
    args = parser.parse_args()
    if args.side != "pytorch":
        from vjax.runtime.memory import restart_with_tunables

        restart_with_tunables()  # as vjax's commands do
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the output of libraries goes to standard error
    if args.side == "pytorch":
        side: Jax | PyTorch = PyTorch(threads=args.threads, half=args.half)
    else:
        side = Jax(native=args.side == "xla", half=args.half)
        side.jax.devices()
    session = Session(side)
    for line in sys.stdin:
        asked = json.loads(line)
        action = asked.pop("do")
        print(json.dumps(getattr(session, action)(**asked)), file=answers, flush=True)


if __name__ == "__main__":
    main()
