"""Compiled programs, kept from one process to the next."""

import os
from pathlib import Path

import jax


def keep_compiled_programs() -> Path:
    """Lets JAX keep what takes a second or more to compile; returns the folder.

    It is `JAX_COMPILATION_CACHE_DIR`, or else `vjax/programs` where the system keeps a user's caches. A program is
    found again by its code, the versions and the devices, so that a run that is started again begins at once.
    """
    if given := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return Path(given)
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "vjax" / "programs"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder
