"""Device use for the log: operations per second, their share of the peak, and memory."""

import jax

# Peak operations per second of dense bfloat16 matrix products, from vendor data sheets, by prefix of `device_kind`.
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
    """Returns numbers of one device for the log, given the operations per second of its program.

    `train/peak_share` is the share of the device's bfloat16 peak; it is missing for devices that are not listed here
    (docs/benchmarks.md has the share of a CPU's peak). `train/device_memory_mb` is the peak memory use so far, for
    devices that report it.
    """
    device = jax.local_devices()[0]
    rates = {"train/tflops_per_s": flops_per_s / 1e12}
    # The longest matching name is the right one: "TPU v5 lite" also starts with "TPU v5".
    known = [name for name in _PEAKS if device.device_kind.startswith(name)]
    if known:
        rates["train/peak_share"] = flops_per_s / _PEAKS[max(known, key=len)]
    memory = device.memory_stats() or {}
    if "peak_bytes_in_use" in memory:
        rates["train/device_memory_mb"] = memory["peak_bytes_in_use"] / 1e6
    return rates
