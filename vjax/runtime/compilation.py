"""The compilation cache, which processes share."""

import os
from pathlib import Path

import jax

from vjax.runtime.cache_folder import cache_folder


def keep_compiled_programs() -> Path | None:
    """Turns on JAX's compilation cache for programs that take a second or more to compile; returns its folder.

    The folder is `JAX_COMPILATION_CACHE_DIR` if that is set, else `vjax/programs` in the user's cache folder; None, and
    no cache, if the user has no home. The cache key contains the program, the versions and the devices, so a restarted
    run does not compile again.
    """
    if given := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return Path(given)
    caches = cache_folder()
    if caches is None:
        return None
    folder = caches / "programs"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder
