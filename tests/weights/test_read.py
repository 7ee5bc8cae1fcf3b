import json
import re
import struct
import time
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from saved_weights import Global, mutate, save_old, save_zip

from vjax.errors import InputError
from vjax.weights.read import read_tensors, read_weight_file
from vjax.weights.write import write_safetensors

NUM_MUTATED = 200
TENSORS = {
    "b.weight": np.arange(24, dtype=np.float32).reshape(4, 6).T,
    "a.bias": np.array([1.0, 3.0], ml_dtypes.bfloat16),
    "steps": np.array(7),
}
SAVE = {
    "archive.pt": save_zip,
    "old.pth": save_old,
    "numbers.safetensors": lambda path, tensors: write_safetensors(path, tensors) or path,
}


def assert_equal(found, wanted):
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name].dtype == wanted[name].dtype
        np.testing.assert_array_equal(found[name], wanted[name])


@pytest.mark.parametrize("name", SAVE)
@pytest.mark.parametrize("ending", ["", ".bin"])
def test_the_content_says_what_a_file_is_and_not_its_ending(tmp_path, name, ending):
    assert_equal(read_tensors(SAVE[name](tmp_path / f"{name}{ending}", TENSORS)), TENSORS)


def test_safetensors_of_another_program_and_its_notes_are_read(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"w": np.float16([1, 2]), "a": np.array([True])}, path, metadata={"format": "pt"})
    found = read_weight_file(path)
    assert list(found.tensors) == ["a", "w"]
    assert (found.form, found.entry, found.unused) == ("safetensors", "", {"__metadata__/format": "'pt'"})


@pytest.mark.parametrize("start", [b"\x80", b"P"])
def test_safetensors_may_begin_with_any_byte(tmp_path, start):
    """They begin with the length of their header."""
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    text = json.dumps({"a": entry}).encode().ljust(int.from_bytes(start, "little"))
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(text)) + text + struct.pack("<f", 2.5))
    assert (tmp_path / "x").read_bytes().startswith(start)
    np.testing.assert_array_equal(read_tensors(tmp_path / "x")["a"], [2.5])


OPTIMIZER = {"state": {0: {"m": np.ones(2), "v": np.ones(2), "step": np.array(1.0), "w": np.ones(1)}}, "lr": 0.1}


@pytest.mark.parametrize(
    ("content", "entry"),
    [
        (TENSORS, ""),
        ({"state_dict": TENSORS, "epoch": 3}, "state_dict"),
        ({"optimizer": OPTIMIZER, "model_state": TENSORS}, "model_state"),
        ({"best": np.array(0.7), "model": {"state_dict": TENSORS, "name": "x"}}, "model/state_dict"),
        ({"mean": TENSORS, "model": dict(TENSORS)}, "mean"),
    ],
)
@pytest.mark.parametrize("save", [save_zip, save_old])
def test_the_tensors_are_those_of_the_dict_with_most_of_them(tmp_path, content, entry, save):
    found = read_weight_file(save(tmp_path / "x.pt", content))
    assert found.entry == entry
    assert_equal(found.tensors, TENSORS)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("name", SAVE)
def test_the_wrappers_that_training_puts_before_every_name_are_left_out(tmp_path, name, prefix):
    path = SAVE[name](tmp_path / name, {f"{prefix}{key}": tensor for key, tensor in TENSORS.items()})
    found = read_weight_file(path)
    assert found.prefix == prefix
    assert_equal(found.tensors, TENSORS)


def test_a_wrapper_before_some_names_alone_is_a_part_of_them(tmp_path):
    tensors = {"module.a": np.ones(2, np.float32), "b": np.ones(2, np.float32)}
    found = read_weight_file(save_zip(tmp_path / "x.pt", tensors))
    assert (found.prefix, list(found.tensors)) == ("", ["module.a", "b"])


def test_everything_else_is_named_as_unused(tmp_path):
    content = {
        "epoch": 3,
        "arch": "resnet\n18",
        "best": np.array(0.7),
        "dtype": Global("torch", "float16"),
        "optimizer": OPTIMIZER,
        "none": None,
        "history": [1, 2, 3],
        "model": {**TENSORS, "version": 2, "extra": {"x": 1}},
    }
    assert read_weight_file(save_zip(tmp_path / "x.pt", content)).unused == {
        "epoch": "3",
        "arch": r"'resnet\n18'",
        "best": "a tensor",
        "dtype": "torch.float16",
        "optimizer": "a dict of 2",
        "none": "None",
        "history": "a list of 3",
        "model/version": "2",
        "model/extra": "a dict of 1",
    }


def test_only_the_storages_of_the_tensors_are_read(tmp_path):
    """A checkpoint with its optimizer is three times as large as its network."""
    path = save_zip(tmp_path / "x.pt", {"model": TENSORS, "optimizer": np.ones(10**6)})
    tracemalloc.start()
    read_tensors(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10**6


def header(content, numbers=b""):
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + numbers


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no file of weights; vjax reads .safetensors, and .pth or .pt of torch.save"),
        (b"this is no file of weights", "is no file of weights"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "is no file of weights"),
        (b"\x80\x02}.", "is a pickle, but torch.save did not write it"),
        (b"PK\x03\x04", "is a damaged zip archive"),
        (header({}), "holds no tensors"),
        (
            header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234"),
            "is a damaged safetensors file",
        ),
        (header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}), "is a damaged safetensors file"),
        (
            header({"a": {"dtype": "F8_E5M2", "shape": [1], "data_offsets": [0, 1]}}, b"1"),
            "the tensor 'a' has the type F8_E5M2, which vjax does not read",
        ),
        (
            header({"a": {"dtype": "F32", "shape": [1] * 65, "data_offsets": [0, 4]}}, b"1234"),
            "is damaged: it has a tensor of 65 axes",
        ),
        (
            header({"a": {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]}}),
            "is damaged: it has a tensor of shape",
        ),
        (struct.pack("<Q", 2**60) + b'{"a":', "is a damaged safetensors file"),
    ],
)
def test_another_file_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"\A{re.escape(str(path))}: {re.escape(message)}[^\n]*\Z"):
        read_tensors(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.pth: no such file; give a file of weights"):
        read_tensors(tmp_path / "none.pth")
    with pytest.raises(InputError, match="is not a file; give a file of weights"):
        read_tensors(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([np.ones(2)], "holds no tensors by name: its content is a list of 1"),
        (np.ones(2), "holds no tensors by name: its content is a tensor"),
        ({"epoch": 3}, "holds no tensors by name: its content is a dict of 1"),
        ({"a": {"b": {"c": {"d": np.ones(2)}}}}, "holds no tensors by name"),
    ],
)
def test_a_file_without_named_tensors_is_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read_tensors(save_zip(tmp_path / "x.pt", content))


def write_mutated(path, form, rng):
    """Writes a mutated file; of an archive, every second one is whole and holds a mutated pickle."""
    content = {"model": TENSORS, "optimizer": OPTIMIZER, "epoch": 3, "note": "abc"}
    if form == "archive.pt" and rng.integers(2):
        save_zip(path, content, change=lambda pickle: mutate(rng, pickle))
    else:
        SAVE[form](path, TENSORS if form == "numbers.safetensors" else content)
        path.write_bytes(mutate(rng, path.read_bytes()))


def test_mutated_files_give_tensors_or_one_line_in_bounded_time_and_memory(tmp_path):
    rng = np.random.default_rng(0)
    read, refused, messages = dict.fromkeys(SAVE, 0), dict.fromkeys(SAVE, 0), {}
    tracemalloc.start()
    for number in range(NUM_MUTATED):
        form = list(SAVE)[number % len(SAVE)]
        path = tmp_path / f"{number}_{form}"
        write_mutated(path, form, rng)
        started = time.monotonic()
        try:
            assert all(len(array.tobytes()) == array.nbytes for array in read_tensors(path).values())
            read[form] += 1
        except InputError as error:
            messages[str(path)] = str(error)
            refused[form] += 1
        assert time.monotonic() - started < 10
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * 2**20
    assert all(message.startswith(f"{path}: ") and message.isprintable() for path, message in messages.items())
    assert sum(read.values()) + sum(refused.values()) == NUM_MUTATED
    assert min(refused.values()) > NUM_MUTATED / len(SAVE) / 2
    assert sum(read.values()) > 0
