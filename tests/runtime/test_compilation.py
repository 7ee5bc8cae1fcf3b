import os
import subprocess
import sys

from vjax.runtime.compilation import keep_compiled_programs

CODE = """
import time, jax
from vjax.runtime.compilation import keep_compiled_programs
print(keep_compiled_programs())
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.jit(lambda x: x * 2 + 1)(jax.numpy.ones(3))
"""


def kept(**environment):
    """Runs a small program in a process of its own; returns where programs are kept."""
    given = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=given | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_programs_are_kept_in_the_users_cache(tmp_path):
    folder = tmp_path / "vjax" / "programs"
    assert kept(XDG_CACHE_HOME=str(tmp_path)) == str(folder)
    written = {path.name for path in folder.iterdir()}
    assert written
    kept(XDG_CACHE_HOME=str(tmp_path))
    assert {path.name for path in folder.iterdir() if path.name.endswith("cache")} == {
        name for name in written if name.endswith("cache")
    }, "the same program was compiled and kept again"


def test_the_folder_that_jax_is_told_of_is_taken(tmp_path):
    assert kept(JAX_COMPILATION_CACHE_DIR=str(tmp_path)) == str(tmp_path)


def test_a_user_without_a_home_keeps_no_programs(monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setattr("vjax.runtime.compilation.cache_folder", lambda: None)
    assert keep_compiled_programs() is None
