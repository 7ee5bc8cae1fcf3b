"""A folder that looks like a user's, in which the commands of the documents run as they are typed.

The configs of the folder are the tiny versions of those that come with vjax, under the same names.
"""

import os
import pathlib
import re
import subprocess
import sys
import tomllib

import numpy as np
from made_videos import write_video
from official_layouts import write_ucf101, write_weizmann
from video_files import write_folder

from vjax.config_file import shipped_configs

ROOT = pathlib.Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

_TINY = """from vjax.config_file import load_config

def get_config():
    return load_config({path!r})
"""
_PIP = """import re, sys
extras = {extras!r}
named = [name for word in sys.argv[1:] for part in re.findall(r"\\[(.+)\\]", word) for name in part.split(",")]
sys.exit(f"no such extra: {{named}}" if set(named) - set(extras) else 0)
"""


def make_user_folder(folder):
    """Makes the folder, with videos, configs and a `bin` of what an installation puts on the path; returns it."""
    (folder / "configs").mkdir(parents=True)
    write_tiny_configs(folder / "configs")
    write_user_videos(folder)
    for name in ("train.py", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    write_command(folder / "bin/python", f'exec "{sys.executable}" "$@"')
    write_command(folder / "bin/vjax", 'exec python -m vjax "$@"')
    # Nothing is installed, but an extra must exist. CI runs the others itself.
    (folder / "bin/pip.py").write_text(_PIP.format(extras=sorted(EXTRAS)))
    write_command(folder / "bin/pip", 'exec python "$(dirname "$0")/pip.py" "$@"')
    for name in ("pytest", "sphinx-build"):
        write_command(folder / "bin" / name, "exit 0")
    return folder


def write_tiny_configs(folder, *, leaving=()):
    """Writes the tiny version of each config that comes with vjax, but for the names in `leaving`."""
    for name, path in shipped_configs().items():
        if name not in leaving:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / f"{name}.py").write_text(_TINY.format(path=f"{path}:tiny"))


def write_user_videos(folder):
    """Writes what the documents speak of: `videos`, two datasets under `data`, and `new.mp4`."""
    write_folder(folder / "videos", labels=("run", "walk"))
    write_weizmann(folder / "data/weizmann", groups=("daria", "denis", "eli"))
    write_ucf101(folder / "data/ucf101")
    levels = np.arange(48, dtype=np.uint8)[:, None, None, None]
    write_video(folder / "new.mp4", np.broadcast_to(4 * levels, (48, 96, 128, 3)).copy())


def write_command(path, line):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def run_block(block, folder):
    """Runs a block of shell commands; each must succeed."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment |= {"PATH": f"{folder}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return run_bash(block, folder, environment)


def run_bash(commands, folder, environment):
    """Runs shell commands in a folder, up to the first that fails."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def read_blocks(page, language):
    """Returns the fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)
