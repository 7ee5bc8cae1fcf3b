"""What all tests share: eight simulated devices, caches of their own, and real videos where there are any."""

import os
import pathlib
import shutil
import tempfile
import time

# Before jax is imported anywhere.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"
# One cache of indexes and one of compiled programs for all workers and for the commands they start; none of the user's.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="vjax-test-caches-")
    # A folder that was given stays, for the next session.
    programs = os.environ.get("VJAX_TEST_PROGRAMS") or tempfile.mkdtemp(prefix="vjax-test-programs-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = programs
    # The default, a second, leaves out nearly every program of the small networks here.
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--begin-before",
        type=float,
        default=float("inf"),
        metavar="TIME",
        help="skip the tests that would begin later than this time, in seconds since 1970",
    )


def pytest_sessionfinish(session):
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)
        if not os.environ.get("VJAX_TEST_PROGRAMS"):
            shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Skips a test that would begin too late; leaves out LLVM's optimisation, except in tests marked `optimised`.

    That optimisation takes longer than small programs run. The passes of XLA are the same, and the commands that tests
    start compile as they do for users.
    """
    if time.time() > item.config.getoption("--begin-before"):
        pytest.skip("it would begin after the time of --begin-before")
    import jax  # here, because the process that hands out the tests needs no jax

    jax.config.update("jax_disable_most_optimizations", item.get_closest_marker("optimised") is None)


@pytest.fixture(scope="session")
def real_videos():
    """The folder of real videos, `weizmann/` and `odd/`."""
    default = pathlib.Path(__file__).parents[2] / "shared" / "videos"
    folder = pathlib.Path(os.environ.get("VJAX_TEST_VIDEOS", default))
    if not folder.is_dir():
        pytest.skip(f"no real videos: {folder} is no folder; set VJAX_TEST_VIDEOS to one")
    return folder


@pytest.fixture(scope="session")
def run_of_levels(tmp_path_factory):
    """The folder of `trained_runs.make_run_of_levels`."""
    from trained_runs import make_run_of_levels  # imports jax

    return make_run_of_levels(tmp_path_factory.mktemp("levels"))
