"""The versions and devices of a process, which a result is measured with."""

import platform
from importlib import metadata

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
