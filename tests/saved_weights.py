"""Files as torch.save writes them, in both forms, made without PyTorch; and mutated ones."""

import struct
import zipfile
from typing import NamedTuple

import numpy as np

STORAGES = {"float32": "Float", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long", "bool": "Bool",
            "uint8": "Byte", "float64": "Double"}  # fmt: skip
MAGIC = 0x1950A86A20F9469CFC6C


class Global(NamedTuple):
    module: str
    name: str


class Call(NamedTuple):
    called: Global
    arguments: tuple


class Persistent(NamedTuple):
    identity: tuple


def pickled(value):
    """The bytes of a pickle of protocol 2."""
    return b"\x80\x02" + emit(value) + b"."


def emit(value):
    """The instructions that build a value."""
    match value:
        case Global():
            return b"c" + f"{value.module}\n{value.name}\n".encode()
        case Call():
            return emit(value.called) + emit(value.arguments) + b"R"
        case Persistent():
            return emit(value.identity) + b"Q"
        case None | True | False:
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int():
            return b"J" + struct.pack("<i", value) if abs(value) < 2**31 else long1(value)
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(emit, value)) + b"t"
        case list():
            return b"](" + b"".join(map(emit, value)) + b"e"
        case dict():
            return b"}(" + b"".join(emit(part) for pair in value.items() for part in pair) + b"u"
    raise TypeError(type(value))


def long1(value):
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


class Writer:
    """Turns the arrays in a content into calls as torch.save writes them, and collects their storages."""

    def __init__(self):
        self.arrays = {}

    def described(self, value):
        match value:
            case np.ndarray():
                return self.tensor(value)
            case dict():
                return {key: self.described(part) for key, part in value.items()}
            case list():
                return [self.described(part) for part in value]
        return value

    def tensor(self, array):
        base = array
        while base.base is not None:
            base = base.base
        key = next((key for key, known in self.arrays.items() if known is base), str(len(self.arrays)))
        self.arrays[key] = base
        size = array.itemsize
        offset = (array.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // size
        kind = Global("torch", f"{STORAGES[array.dtype.name]}Storage")
        stored = Persistent(("storage", kind, key, "cpu", base.size))
        return tensor_call(stored, offset, array.shape, tuple(stride // size for stride in array.strides))

    def storages(self, order="<"):
        for key, array in self.arrays.items():
            unsigned = array.reshape(-1).view(f"u{array.itemsize}")
            yield key, array.size, unsigned.astype(unsigned.dtype.newbyteorder(order)).tobytes()


def tensor_call(stored, offset, shape, strides):
    hooks = Call(Global("collections", "OrderedDict"), ())
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), (stored, offset, shape, strides, False, hooks))


def save_zip(path, content, *, byteorder="little", compression=zipfile.ZIP_STORED, change=lambda content: content):
    """Writes the zip form; `change` gets the bytes of the pickle."""
    writer = Writer()
    described = pickled(writer.described(content))
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", change(described))
        archive.writestr("archive/byteorder", byteorder)
        for key, _, numbers in writer.storages("<" if byteorder == "little" else ">"):
            archive.writestr(f"archive/data/{key}", numbers)
        archive.writestr("archive/version", "3\n")
    return path


def save_old(path, content):
    """Writes the old form."""
    writer = Writer()
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    with path.open("wb") as file:
        for part in (MAGIC, 1001, system, writer.described(content), list(writer.arrays)):
            file.write(pickled(part))
        for _, size, numbers in writer.storages():
            file.write(struct.pack("<q", size) + numbers)
    return path


def save_raw(path, pickle):
    """Writes the zip form of a pickle that is given as bytes."""
    return save_zip(path, {}, change=lambda _: pickle)


def mutate(rng, content):
    """Returns a content with some bits flipped, a part cut out, its end cut off, or bytes put in."""
    content = bytearray(content)
    start = int(rng.integers(len(content)))
    kind = rng.integers(4)
    if kind == 0:
        for _ in range(rng.integers(1, 5)):
            content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    elif kind == 1:
        del content[start : start + int(rng.integers(1, 40))]
    elif kind == 2:
        del content[start:]
    else:
        content[start:start] = rng.bytes(int(rng.integers(1, 40)))
    return bytes(content)
