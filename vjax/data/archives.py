"""Unpacks the archives of a dataset, each once, and finds the files that belong to the dataset."""

import shutil
import tarfile
import zipfile
from pathlib import Path

from vjax.errors import InputError

_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def unpack(root: Path) -> Path:
    """Unpacks the archives of a dataset; returns `root`, or the unpacked folder if `root` itself is an archive.

    An archive `NAME.zip` is unpacked once, to `NAME/` in the same folder. That folder appears only after the archive
    is unpacked completely.

    Raises:
      InputError: `root` is a file but not an archive, an archive is damaged, or there are only RAR archives, which
        Python cannot read.
    """
    if root.is_file():
        if not _is_archive(root):
            raise InputError(f"{root}: must be a folder or an archive ({', '.join(_ENDINGS)})")
        return _unpack_one(root)
    for path in sorted(root.iterdir()):
        if path.is_file() and _is_archive(path):
            _unpack_one(path)
    inside = sorted(root.iterdir())
    packed = [path for path in inside if path.suffix.lower() == ".rar"]
    if packed and not any(path.is_dir() for path in inside):
        first = packed[0]
        raise InputError(f"{first}: unpack it first, with `unar -o {root} {first}` or `bsdtar -xf {first} -C {root}`")
    return root


def find_one(root: Path, *names: str) -> Path:
    """Returns a file with one of the names, at any depth under `root`; earlier names come first.

    Raises:
      InputError: no file has one of the names.
    """
    for name in names:
        found = sorted(root.rglob(name))
        if found:
            return found[0]
    raise InputError(f"{root}: {' or '.join(names)} is missing; put the dataset's official lists there")


def _is_archive(path: Path) -> bool:
    return path.name.lower().endswith(_ENDINGS)


def _unpack_one(path: Path) -> Path:
    name = next(path.name[: -len(ending)] for ending in _ENDINGS if path.name.lower().endswith(ending))
    target = path.with_name(name)
    if target.is_dir():
        return target
    half = path.with_name(f".{name}.unpacking")
    shutil.rmtree(half, ignore_errors=True)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(half)  # zipfile itself removes ".." and leading slashes
        else:
            with tarfile.open(path) as archive:
                archive.extractall(half, filter="data")
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        shutil.rmtree(half, ignore_errors=True)
        raise InputError(f"{path}: cannot be unpacked ({type(error).__name__}: {error})") from error
    half.rename(target)
    return target
