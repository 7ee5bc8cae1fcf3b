"""The folder for files that may be removed at any time, and are then made again."""

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """Returns `vjax` in the user's cache folder (`$XDG_CACHE_HOME`, else `~/.cache`); None if the user has no home."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "vjax"
    home = os.path.expanduser("~")  # stays "~" for a user that the system does not know, as in some containers
    return None if home == "~" else Path(home) / ".cache" / "vjax"
