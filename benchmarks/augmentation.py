"""Compares augmentation on the host, clip by clip, with augmentation on the device, inside the jitted step.

    python benchmarks/augmentation.py [--rounds 7]

Prints milliseconds for a clip of 16 x 112 x 112 in a batch of 16. Host and device take turns in one process; the table
shows medians. The host uses one thread, like one of Grain's. The device is the one that JAX finds; a CPU uses all its
cores.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vjax.ops.augment import erase_box, jitter_colors, rand_augment
from vjax.ops.frames import to_float
from vjax.ops.mix import cutmix, mixup

BATCH, SHAPE = 16, (16, 112, 112, 3)
NORMAL = {"mean": (0.45, 0.45, 0.45), "std": (0.225, 0.225, 0.225)}


def device_jitter(key: jax.Array, clips: jax.Array, *, strength: float) -> jax.Array:
    """Returns clips `(b t h w 3)` as float32 with the colour jitter of `jitter_colors`."""
    brightness, contrast, saturation = jax.random.uniform(
        key, (3, len(clips), 1, 1, 1, 1), minval=1 - strength, maxval=1 + strength
    )
    clips = clips.astype(jnp.float32) * brightness
    gray = (clips * jnp.asarray((0.299, 0.587, 0.114))).sum(-1, keepdims=True)
    mean = gray.mean((1, 2, 3), keepdims=True)
    return jnp.clip(mean + contrast * (gray - mean + saturation * (clips - gray)), 0, 255)


def device_erase(key: jax.Array, clips: jax.Array) -> jax.Array:
    """Returns clips `(b t h w c)` with one box of every clip set to gray."""
    b, _, h, w, _ = clips.shape
    half_h, half_w, row, column = jax.random.uniform(key, (4, b, 1, 1))
    y, x = (jnp.arange(h)[None, :, None] + 0.5) / h, (jnp.arange(w)[None, None, :] + 0.5) / w
    inside = (jnp.abs(y - row) < half_h / 4) & (jnp.abs(x - column) < half_w / 4)
    return jnp.where(inside[:, None, :, :, None], 128, clips)


def main() -> None:
    """Runs the measurements and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="turns of host and device (default: 7)")
    rounds = parser.parse_args().rounds

    # The clips, on the host and on the device.
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (BATCH, *SHAPE), np.uint8)
    on_device = jax.device_put(clips)
    key = jax.random.key(0)

    def host(function: Callable[..., np.ndarray]) -> Callable[[], object]:
        return lambda: [function(clip) for clip in clips]

    def device(function: Callable[[jax.Array], jax.Array]) -> Callable[[], object]:
        # This includes the conversion to float, which the step needs anyway, and a sum instead of the network.
        jitted = jax.jit(lambda x: to_float(function(x), **NORMAL).sum((1, 2)))
        return lambda: jitted(on_device).block_until_ready()

    # For each augmentation, a function for the host and one for the device; None if there is none.
    cases = {
        "nothing (device: to float)": (None, device(lambda x: x)),
        "colour jitter": (
            host(lambda clip: jitter_colors(rng, clip, strength=0.4)),
            device(lambda x: device_jitter(key, x, strength=0.4)),
        ),
        "random erasing": (
            host(lambda clip: erase_box(rng, clip, probability=1.0)),
            device(lambda x: device_erase(key, x)),
        ),
        "RandAugment, 2 operations": (host(lambda clip: rand_augment(rng, clip, num_ops=2, magnitude=9)), None),
        "mixup": (lambda: mixup(rng, clips, alpha=1.0), None),
        "cutmix, random box": (lambda: cutmix(rng, clips, alpha=1.0), None),
    }

    # Host and device take turns.
    times: dict[tuple[str, int], list[float]] = {}
    for number in range(rounds + 1):
        for name, pair in cases.items():
            for side, run in enumerate(pair):
                if run is None:
                    continue
                started = time.perf_counter()
                run()
                if number:  # the first round compiles
                    times.setdefault((name, side), []).append(1000 * (time.perf_counter() - started) / BATCH)

    # The table.
    print(f"device: {jax.devices()[0].device_kind}, jax {jax.__version__}\n")
    print("| augmentation | host, ms a clip | device, ms a clip |\n| --- | ---: | ---: |")
    for name in cases:
        shown = [f"{statistics.median(times[name, side]):.2f}" if (name, side) in times else "-" for side in (0, 1)]
        print(f"| {name} | {shown[0]} | {shown[1]} |")


if __name__ == "__main__":
    main()
