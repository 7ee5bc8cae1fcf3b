"""Facts that every measurement reports: the machine, the versions and the commit."""

import platform
import shutil
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from vjax.runtime.versions import processor


def machine() -> str:
    """Returns the processor, the GPUs and the Python version."""
    return ", ".join([processor(), *gpus(), f"Python {platform.python_version()}"])


def gpus() -> list[str]:
    """Returns the names and drivers of this machine's NVIDIA GPUs."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [f"{name} (driver {driver})" for name, driver in (line.split(", ") for line in found.splitlines())]


def versions(names: Iterable[str]) -> str:
    """Returns the versions of the named distributions; those that are not installed are omitted."""
    found = []
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def commit() -> str:
    """Returns the commit of this file's repository, with "-dirty" if files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return done.stdout.strip() or "unknown"
