"""The versions and devices of a process, which a result is measured with."""

import os
import platform
from importlib import metadata
from pathlib import Path

import jax


def versions() -> dict[str, str]:
    """Returns the versions of Python and the libraries that compute, and the devices."""
    named = {"python": platform.python_version()}
    for name in ("vjax", "jax", "flax"):
        try:
            named[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # vjax runs from a clone that is not installed
            named[name] = "not installed"
    return named | {"devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}"}


def processor() -> str:
    """Returns the number of cores, the model of the processor, and whether it has AVX-512."""
    info = Path("/proc/cpuinfo")  # of Linux
    lines = info.read_text().splitlines() if info.exists() else []
    fields = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    model = named.get("model name") or platform.processor() or platform.machine()
    avx512 = ", AVX-512" if "avx512f" in named.get("flags", "").split() else ""
    return f"{os.cpu_count()} cores of {model}{avx512}"
