import numpy as np
import pytest

from vjax.errors import InputError
from vjax.weights.pickles import Name
from vjax.weights.torch_tensors import KNOWN, Storages, check_shape

REBUILD = KNOWN["torch._utils._rebuild_tensor_v2"]


@pytest.fixture
def storages():
    return Storages(file_bytes=1000)


def storage(storages, *, key="0", kind="Float", size=12):
    return storages.find(("storage", Name(f"torch.{kind}Storage"), key, "cpu", size))


def load(storages, tensor, numbers, **options):
    return storages.load({"x": tensor}, lambda _: numbers.tobytes(), **options)["x"]


def test_a_tensor_is_the_view_that_offset_shape_and_strides_say(storages):
    numbers = np.arange(12, dtype=np.float32)
    tensor = REBUILD((storage(storages), 1, (3, 2), (1, 5), False, {}))
    np.testing.assert_array_equal(load(storages, tensor, numbers), [[1, 6], [2, 7], [3, 8]])


def test_the_stride_of_an_axis_of_one_element_may_be_any_number(storages):
    tensor = REBUILD((storage(storages), 0, (1, 12), (2**61, 1)))
    assert load(storages, tensor, np.arange(12, dtype=np.float32)).shape == (1, 12)


def test_an_empty_tensor_needs_no_numbers(storages):
    tensor = REBUILD((storage(storages, size=0), 0, (0, 7), (7, 1)))
    assert load(storages, tensor, np.zeros(0, np.float32)).shape == (0, 7)


def test_a_storage_of_a_gpu_is_one_of_numbers(storages):
    found = storages.find(("storage", Name("torch.cuda.HalfStorage"), "5", "cuda:0", 3, None))
    assert (found.dtype, found.num_bytes) == (np.float16, 6)


def test_the_bytes_of_a_big_endian_file_are_swapped(storages):
    numbers = np.arange(12, dtype=np.float32)
    tensor = REBUILD((storage(storages), 0, (12,), (1,)))
    np.testing.assert_array_equal(load(storages, tensor, numbers.astype(">f4"), big_endian=True), numbers)


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "message"),
    [
        (0, (13,), (1,), r"a tensor of shape \(13,\) ends behind its storage '0' of 12"),
        (1, (12,), (1,), "ends behind its storage"),
        (0, (3, 2), (4, 5), "ends behind its storage"),
        (12, (), (), "ends behind its storage"),
        (0, (2,), (2**64,), "ends behind its storage"),
        (-1, (1,), (1,), "whole numbers from 0 on"),
        (0, (3,), (-1,), "whole numbers from 0 on"),
        (0, (3,), (True,), "whole numbers from 0 on"),
        (0, (-3,), (1,), "sizes of a tensor must be whole numbers from 0 on"),
        (0, ((),), (1,), "sizes of a tensor must be whole numbers from 0 on"),
        (0, (0, 2**70), (0, 0), "has a tensor of shape"),
        (0, (2**30, 2**30), (0, 0), "has a tensor of shape"),
        (0, (3, 4), (1,), "a tensor of 2 axes and 1 strides"),
        (0, (1,) * 65, (1,) * 65, "has a tensor of 65 axes"),
        (0, [3], (1,), "not as torch.save writes it"),
    ],
)
def test_a_tensor_that_is_not_in_its_storage_is_refused(storages, offset, shape, strides, message):
    with pytest.raises(InputError, match=message):
        REBUILD((storage(storages), offset, shape, strides))


def test_tensors_that_repeat_their_numbers_without_end_are_refused(storages):
    tensor = REBUILD((storage(storages), 0, (10**9,), (0,)))
    with pytest.raises(InputError, match="would take 4,000,000,000 bytes; the file has 1,000"):
        load(storages, tensor, np.zeros(12, np.float32))


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        (("module", Name("torch.FloatStorage"), "0", "cpu", 3), "not as torch.save writes it"),
        (("storage", Name("torch.Size"), "0", "cpu", 3), "not as torch.save writes it"),
        (("storage", "torch.FloatStorage", "0", "cpu", 3), "not as torch.save writes it"),
        (("storage", Name("torch.FloatStorage"), 0, "cpu", 3), "not as torch.save writes it"),
        (("storage", Name("torch.FloatStorage"), "0", "cpu", -3), "not as torch.save writes it"),
        (("storage", Name("torch.FloatStorage"), "0", "cpu", 3, ("1", 0, 2)), "not as torch.save writes it"),
        (("storage",), "not as torch.save writes it"),
        (("storage", Name("torch.FloatStorage"), "0", "cpu", 251), "its storage '0' has 1,004 bytes, the file fewer"),
        (("storage", Name("torch.LongStorage"), "7", "cpu", 3), "two descriptions of the storage '7'"),
    ],
)
def test_a_storage_that_cannot_be_in_the_file_is_refused(storages, identity, message):
    storage(storages, key="7", size=3)
    with pytest.raises(InputError, match=message):
        storages.find(identity)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("torch._utils._rebuild_parameter", ("x",), "a parameter without a tensor"),
        ("collections.OrderedDict", ([("a", 1)],), "a dict made of something else"),
        ("torch.Size", (3,), "a sequence made of something else"),
        ("torch.device", (), "a device without a name"),
        ("torch._utils._rebuild_tensor_v2", (), "not as torch.save writes it"),
    ],
)
def test_a_call_with_other_arguments_is_refused(name, arguments, message):
    with pytest.raises(InputError, match=message):
        KNOWN[name](arguments)


def test_no_builder_copies_what_it_gets():
    """Ten bytes of a pickle can call a builder with something large again and again."""
    content, sizes = {"a": 1}, (1, 2)
    assert KNOWN["collections.Counter"]((content,)) is content
    assert KNOWN["torch.Size"]((sizes,)) is sizes


def test_the_largest_shape_is_one_that_numpy_takes():
    check_shape((0, 2**50))
    np.empty((0, 2**50))
