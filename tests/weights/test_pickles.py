"""Pickles that a reader must not follow, written instruction by instruction."""

import io
import pickle
import re
import time

import pytest
from saved_weights import Call, Global, pickled

from vjax.errors import InputError
from vjax.weights.pickles import Name, interpret

KNOWN = {
    "kind.Value": None,
    "kind.make": lambda arguments: ("made", *arguments),
    "kind.name": lambda _: Name("kind.unknown"),
}


def read(content):
    return interpret(io.BytesIO(content), known=KNOWN, find_stored=lambda identity: ("stored", *identity))


PLAIN = {"a": [1, -2, 2**40, 2.5, None, True, False], "b": (), "c": ("x", ("y",), (1, 2, 3)), "d": {1: b"raw", "e": {}}}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_containers_are_read_as_pickle_reads_them(protocol):
    content = {**PLAIN, "d": {}} if protocol < 3 else PLAIN  # before, bytes are a call of `_codecs.encode`
    shared = [content, content]
    read_back = read(pickle.dumps(shared, protocol))
    assert read_back == shared
    assert read_back[0] is read_back[1]


def test_a_set_is_read_as_a_list():
    assert sorted(read(pickle.dumps({1, 2, 3}, 4))) == [1, 2, 3]


def test_a_container_that_holds_itself_is_read():
    content = []
    content.append(content)
    read_back = read(pickle.dumps(content, 2))
    assert read_back[0] is read_back


def test_a_known_name_is_a_value_or_builds_one():
    call = Call(Global("kind", "make"), (1, "x"))
    assert read(pickled([Global("kind", "Value"), call])) == [Name("kind.Value"), ("made", 1, "x")]
    assert read(b"(X\x01\x00\x00\x00stQ.") == ("stored", "s")


def test_the_stream_stands_behind_the_pickle():
    stream = io.BytesIO(pickled([1]) + b"rest")
    interpret(stream, known={}, find_stored=lambda identity: identity)
    assert stream.read() == b"rest"


def test_attributes_of_a_dict_are_dropped():
    assert read(b"}}X\x01\x00\x00\x00aK\x01sb.") == {}


class Hostile:
    """What `pickle.loads` would run."""

    def __reduce__(self):
        import os

        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Hostile(), 2), "holds posix.system, which is no tensor"),
        (pickle.dumps({"a": [Hostile()]}, 4), "holds posix.system, which is no tensor"),
        (b"cbuiltins\neval\n(X\x01\x00\x00\x001tR.", "holds builtins.eval, which is no tensor"),
        (b"(S'touch executed'\nios\nsystem\n.", "holds os.system, which is no tensor"),
        (b"(cos\nsystem\nS'touch executed'\no.", "holds os.system, which is no tensor"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "holds os.system, which is no tensor"),
        (b"\x80\x04\x8c\x04kind\x8c\x0bmake.__self\x93.", "holds kind.make.__self, which is no tensor"),
        (b"\x80\x04\x8c\x05a\n\x1b[J\x8c\x01b\x93.", r"holds a\n\x1b[J.b, which is no tensor"),
        (b"ckind\nValue\n)\x81.", "holds an object (instruction NEWOBJ), which is no tensor"),
        (b"\x82\x01.", "holds an object (instruction EXT1), which is no tensor"),
        (b"Psomething\n.", "holds an object (instruction PERSID), which is no tensor"),
        (b"ckind\nValue\n}X\x0c\x00\x00\x00__setstate__K\x01sb.", "a Name where a dict belongs"),
        (b"ckind\nValue\n)R.", "a call of kind.Value"),
        (b"ckind\nname\n)R)R.", "a call of kind.unknown"),
        (b"K\x01)R.", "a call of something that is no name"),
        (b"ckind\nmake\n]R.", "a call of something that is no name"),
        (b"\x8b\x00\x00\x01\x00" + b"\xff" * 65535 + b"\x7f.", "holds a number of 524,287 bits"),
        (b"L" + b"9" * 5000 + b"L\n.", "its pickle is damaged"),
        (b"\x8a\xff\x00.", "its pickle is damaged"),
        (b"X\xff\xff\xff\x7fabc.", "its pickle is damaged"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "its pickle is damaged"),
        (b"]", "its pickle is damaged"),
        (b"", "its pickle is damaged"),
        (b"\xff.", "its pickle is damaged"),
        (b".", "a value is missing"),
        (b"K\x01(0.", "a value is missing"),
        (b"a.", "a value is missing"),
        (b"t.", "a mark is missing"),
        (b"h\x05.", "a value that was never memorized"),
        (b"]p9999999999999999999999999\n.", "memorized under a number of 84 bits"),
        (b"}K\x01a.", "a dict where a list belongs"),
        (b"}(K\x01u.", "a key without a value"),
        (b"}]K\x01s.", "holds a dict whose key is a list"),
        (b"}(K\x01K\x02tK\x01s.", "holds a dict whose key is a tuple"),
        (b"}\x8a\x09" + (2**64).to_bytes(9, "little") + b"K\x01s.", "holds a dict whose key is a int"),
        (b"\x80\x04K\x01K\x02\x93.", "a name that is no text"),
        (b"K\x01Q.", "a persistent id that is no tuple"),
    ],
)
def test_anything_else_is_refused_in_one_line(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"\A[^\n]*{re.escape(message)}[^\n]*\Z"):
        read(content)
    assert not (tmp_path / "executed").exists()


def test_deep_nesting_needs_no_deep_stack():
    depth = 300_000
    value, found = read(b")" + b"\x85" * depth + b"."), 0
    while value:
        (value,) = value
        found += 1
    assert found == depth


def test_a_pickle_of_millions_of_instructions_is_refused_in_time():
    started = time.monotonic()
    with pytest.raises(InputError, match="has more than 2,000,000 instructions"):
        read(b"]" * 2_100_000 + b".")
    assert time.monotonic() - started < 60
