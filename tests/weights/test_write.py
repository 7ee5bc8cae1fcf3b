import ml_dtypes
import numpy as np
import pytest

from vjax.errors import InputError
from vjax.weights.read import read_tensors
from vjax.weights.write import check_output, write_weights

BASE = np.arange(24, dtype=np.float32).reshape(4, 6)
TENSORS = {
    "conv.weight": BASE,
    "turned": BASE.T,
    "strided": BASE[:, ::2],
    "brain": np.array([1.0, 3.0], ml_dtypes.bfloat16),
    "scalar": np.array(7),
    "file": np.array([True, False]),
    "a/b": np.zeros((0, 3), np.float16),
}


def test_safetensors_are_read_back_with_types_and_shapes(tmp_path):
    write_weights(tmp_path / "x.safetensors", TENSORS)
    found = read_tensors(tmp_path / "x.safetensors")
    assert found.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


def test_numpy_reads_an_npz_with_bfloat16_as_float32(tmp_path):
    write_weights(tmp_path / "x.npz", TENSORS)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert found.files == list(TENSORS)
        for name, array in TENSORS.items():
            wanted = np.float32 if name == "brain" else array.dtype
            assert (found[name].dtype, found[name].shape) == (wanted, array.shape)
            np.testing.assert_array_equal(found[name], array.astype(wanted))


@pytest.mark.parametrize("ending", [".safetensors", ".npz", ".NPZ"])
def test_equal_tensors_give_equal_files(tmp_path, ending):
    for name in ("a", "b"):
        write_weights(tmp_path / f"{name}{ending}", TENSORS)
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


@pytest.mark.parametrize("name", ["x.pth", "x"])
def test_another_ending_is_refused_before_there_is_anything_to_write(name):
    with pytest.raises(InputError, match=rf"{name}: the ending .* must be one of .safetensors, .npz"):
        check_output(name)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"x.npz cannot be written: "):
        write_weights(tmp_path / "file/x.npz", TENSORS)


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "a" * 70_000, "__metadata__"])
@pytest.mark.parametrize("ending", ["safetensors", "npz"])
def test_a_name_that_no_file_can_hold_is_refused_in_words(tmp_path, name, ending):
    with pytest.raises(InputError, match="cannot be written: a name has 1 to 1000 characters of UTF-8") as caught:
        write_weights(tmp_path / f"x.{ending}", {name: np.zeros(2, np.float32)})
    assert len(str(caught.value)) < 300
    assert not list(tmp_path.iterdir())
