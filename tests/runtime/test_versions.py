"""What a result is measured with."""

import platform

import jax

from vjax.runtime.versions import versions


def test_versions_name_the_libraries_and_the_devices():
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["jax"] == jax.__version__
    assert found["devices"].startswith(f"{jax.device_count()} x ")
