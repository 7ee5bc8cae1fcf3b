"""What a measurement must say of itself: the machine, the versions and the commit."""

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path


def machine() -> str:
    """Returns the processor and the Python version."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1] for line in lines if line.startswith("model name")), "?")
    return f"{os.cpu_count()} cores of {model.strip()}, Python {platform.python_version()}"


def versions(names: Iterable[str]) -> str:
    """Returns the versions of those distributions that are installed."""
    found = []
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def commit() -> str:
    """Returns the commit of this file's repository, "-dirty" where files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return done.stdout.strip() or "unknown"
