import contextlib
import re
import struct
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest
from saved_weights import MAGIC, Global, Persistent, pickled, save_old, save_raw, save_zip, tensor_call

from vjax.errors import InputError
from vjax.weights.read import read_tensors

SAVE = {"zip": save_zip, "old": save_old}
BASE = np.arange(24, dtype=np.float32)
TENSORS = {
    "plain": BASE.reshape(4, 6),
    "view": BASE[3:9].reshape(2, 3).T,
    "strided": BASE[1::2],
    "half": np.float16([1.5, -2.0]),
    "brain": np.array([1.0, 3.0], ml_dtypes.bfloat16),
    "long": np.array([2**40, -1]),
    "scalar": np.array(7),
    "bool": np.array([True, False]),
    "byte": np.uint8([0, 255]),
    "empty": np.zeros((0, 3), np.float32),
}


def assert_equal(found, wanted):
    assert list(found) == list(wanted)
    for name in wanted:
        assert found[name].dtype == wanted[name].dtype
        np.testing.assert_array_equal(found[name], wanted[name])


@pytest.mark.parametrize("save", SAVE.values(), ids=SAVE)
def test_all_types_and_views_are_read(tmp_path, save):
    found = read_tensors(save(tmp_path / "x.pt", TENSORS))
    assert_equal(found, TENSORS)
    assert np.shares_memory(found["plain"], found["view"])
    assert not found["plain"].flags.writeable


def test_a_big_endian_archive_is_read(tmp_path):
    assert_equal(read_tensors(save_zip(tmp_path / "x.pt", TENSORS, byteorder="big")), TENSORS)


def refused(path, message):
    with pytest.raises(InputError, match=rf"\A{re.escape(str(path))}: [^\n]*{message}[^\n]*\Z"):
        read_tensors(path)


def test_a_compressed_archive_is_refused(tmp_path):
    path = save_zip(tmp_path / "x.pt", {"a": np.zeros(10**6, np.float32)}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000
    refused(path, "whose files claim more bytes than it has")


def test_a_compressed_file_in_a_large_archive_is_refused(tmp_path):
    path = save_zip(tmp_path / "x.pt", {"a": BASE}, compression=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/more", b"")
        archive.comment = bytes(10_000)
    refused(path, "'archive/byteorder' is compressed")


def test_files_that_share_the_bytes_of_an_archive_are_refused(tmp_path):
    path = save_zip(tmp_path / "x.pt", {"a": np.zeros(1000, np.float32)})
    with zipfile.ZipFile(path, "a") as archive:
        info = archive.getinfo("archive/data/0")
        archive.filelist += [info] * 3
        archive._didModify = True
    refused(path, "whose files claim more bytes than it has")


@pytest.mark.parametrize(
    ("names", "message"),
    [(["readme.txt"], "with 0 files data.pkl"), (["a/data.pkl", "b/data.pkl"], "with 2 files data.pkl")],
)
def test_another_archive_is_refused(tmp_path, names, message):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        for name in names:
            archive.writestr(name, "x" * 100)
    refused(tmp_path / "x.pt", message)


def rewritten(path, **changes):
    """Writes an archive again, with other content for some of its files; None leaves one out."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**entries, **{f"archive/{key}": value for key, value in changes.items()}}.items():
            if content is not None:
                archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data/0": None}, "'archive/data/0' is missing"),
        ({"data/0": b"1234"}, "the storage '0' has 4 bytes, not 96"),
        ({"byteorder": b"middle"}, "byteorder is neither little nor big"),
    ],
)
def test_an_archive_whose_parts_do_not_fit_is_refused(tmp_path, changes, message):
    refused(rewritten(save_zip(tmp_path / "x.pt", {"a": BASE}), **changes), message)


def test_a_flipped_bit_in_the_numbers_of_an_archive_is_noticed(tmp_path):
    path = save_zip(tmp_path / "x.pt", {"a": BASE})
    content = bytearray(path.read_bytes())
    content[content.index(BASE.tobytes()) + 40] ^= 1
    path.write_bytes(content)
    refused(path, "is a damaged zip archive .*CRC")


def test_an_archive_that_claims_large_files_allocates_nothing_for_them(tmp_path):
    path = save_zip(tmp_path / "x.pt", {"a": BASE})
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 20 : entry + 24] = struct.pack("<I", 2**30)  # the compressed size of the first file
    path.write_bytes(content)
    tracemalloc.start()
    with contextlib.suppress(InputError):  # newer versions of Python find it out themselves
        read_tensors(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def old_file(path, *parts, numbers=b""):
    path.write_bytes(b"".join(map(pickled, parts)) + numbers)
    return path


STORED = Persistent(("storage", Global("torch", "FloatStorage"), "9", "cpu", 2))
CONTENT = {"a": tensor_call(STORED, 0, (2,), (1,))}
NUMBERS = struct.pack("<qff", 2, 1.0, 2.0)


def test_the_old_form_is_five_pickles_and_the_numbers(tmp_path):
    path = old_file(tmp_path / "x.pth", MAGIC, 1001, {}, CONTENT, ["9"], numbers=NUMBERS)
    np.testing.assert_array_equal(read_tensors(path)["a"], [1.0, 2.0])


@pytest.mark.parametrize(
    ("parts", "numbers", "message"),
    [
        ((MAGIC, 1000, {}, CONTENT, ["9"]), NUMBERS, "does not begin as torch.save begins"),
        ((MAGIC, 1001, {}, CONTENT, ["9"]), NUMBERS[:-1], r"is cut off in its storage '9': at byte \d+ of \d+"),
        ((MAGIC, 1001, {}, CONTENT, ["9"]), struct.pack("<qff", 3, 1.0, 2.0), "'9' is not as large as its tensor says"),
        ((MAGIC, 1001, {}, CONTENT, []), NUMBERS, "the storage '9' is missing"),
        ((MAGIC, 1001, {}, CONTENT, ["9", "9"]), NUMBERS * 2, "its storages are not those of its tensors"),
        ((MAGIC, 1001, {}, CONTENT, ["8"]), NUMBERS, "its storages are not those of its tensors"),
        ((MAGIC, 1001, {}, CONTENT, [["9"]]), NUMBERS, "its storages are not those of its tensors"),
        ((MAGIC, 1001), b"", "its pickle is damaged"),
        ((MAGIC, 1001, {}, {"a": Global("os", "system")}, []), b"", "holds os.system, which is no tensor"),
    ],
)
def test_an_old_file_whose_parts_do_not_fit_is_refused(tmp_path, parts, numbers, message):
    refused(old_file(tmp_path / "x.pth", *parts, numbers=numbers), message)


def test_an_object_in_an_archive_is_refused_by_name(tmp_path):
    refused(save_raw(tmp_path / "x.pt", pickled({"a": Global("argparse", "Namespace")})), "holds argparse.Namespace")


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def saved_by_torch(torch):
    base = torch.arange(24.0)
    network = torch.nn.Sequential(torch.nn.Conv3d(3, 4, 3), torch.nn.BatchNorm3d(4))
    return {
        **network.state_dict(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "view": base[3:9].reshape(2, 3).t(),
        "base": base,
        "brain": torch.tensor([1.0, 3.0], dtype=torch.bfloat16),
        "half": torch.tensor([1.5], dtype=torch.float16),
        "long": torch.tensor([2**40, -1]),
        "bool": torch.tensor([True, False]),
        "byte": torch.tensor([255], dtype=torch.uint8),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "empty": torch.empty(0, 3),
    }, network


@pytest.mark.torch
@pytest.mark.parametrize("form", SAVE)
@pytest.mark.parametrize("nested", [False, True])
def test_what_pytorch_saves_is_read_to_the_bit(tmp_path, torch, form, nested):
    tensors, network = saved_by_torch(torch)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(2, 3, 4, 4, 4)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3])
    checkpoint = {
        "epoch": 3,
        "dtype": torch.float16,
        "device": torch.device("cpu"),
        "size": torch.Size([2, 3]),
        "classes": {"a", "b"},
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "model_state": tensors,
    }
    path = tmp_path / "x.pt"
    torch.save(checkpoint if nested else tensors, path, _use_new_zipfile_serialization=form == "zip")
    found = read_tensors(path)
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        tensor = tensor.detach()
        assert str(found[name].dtype) == str(tensor.dtype).removeprefix("torch.")
        np.testing.assert_array_equal(found[name].astype(np.float64), tensor.double().numpy())
    assert np.shares_memory(found["view"], found["base"])


@pytest.mark.torch
@pytest.mark.parametrize("form", SAVE)
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_later_protocols_of_pickle_are_read_too(tmp_path, torch, form, protocol):
    path, wanted = tmp_path / "x.pt", torch.arange(6.0).reshape(2, 3)
    torch.save({"a": wanted.t()}, path, pickle_protocol=protocol, _use_new_zipfile_serialization=form == "zip")
    np.testing.assert_array_equal(read_tensors(path)["a"], wanted.t().numpy())


@pytest.mark.torch
@pytest.mark.parametrize("form", SAVE)
def test_a_whole_network_of_pytorch_is_refused_by_name(tmp_path, torch, form):
    path = tmp_path / "x.pt"
    torch.save(torch.nn.Linear(2, 3), path, _use_new_zipfile_serialization=form == "zip")
    refused(
        path, r"holds torch.nn.modules.linear.Linear, which is no tensor .*torch.save\(network.state_dict\(\), FILE\)"
    )
