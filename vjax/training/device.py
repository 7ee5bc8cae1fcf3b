"""What the devices do: operations a second, their share of the peak, and memory."""

import jax

# Operations a second of dense matrix products in bfloat16, from the makers' data sheets, by what JAX calls the device.
_PEAKS = {
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
}


def device_rates(flops_per_s: float) -> dict[str, float]:
    """Returns numbers for the log: of one device, given the operations a second that its program makes.

    `train/peak_share` is against the device's peak in bfloat16, and absent for devices not listed here; a share of a
    CPU's peak is in docs/benchmarks.md. `train/device_memory_mb` is the most used so far, where the device tells.
    """
    device = jax.local_devices()[0]
    rates = {"train/tflops_per_s": flops_per_s / 1e12}
    # The longest name that fits: "TPU v5 lite" is also a "TPU v5".
    known = [name for name in _PEAKS if device.device_kind.startswith(name)]
    if known:
        rates["train/peak_share"] = flops_per_s / _PEAKS[max(known, key=len)]
    memory = device.memory_stats() or {}
    if "peak_bytes_in_use" in memory:
        rates["train/device_memory_mb"] = memory["peak_bytes_in_use"] / 1e6
    return rates
