"""What all tests share: eight simulated devices, and real videos where there are any."""

import os
import pathlib

# Before jax is imported anywhere.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import pytest


@pytest.fixture(scope="session")
def real_videos():
    """The folder of real videos, `weizmann/` and `odd/`."""
    default = pathlib.Path(__file__).parents[2] / "shared" / "videos"
    folder = pathlib.Path(os.environ.get("VJAX_TEST_VIDEOS", default))
    if not folder.is_dir():
        pytest.skip(f"no real videos: {folder} is no folder; set VJAX_TEST_VIDEOS to one")
    return folder
