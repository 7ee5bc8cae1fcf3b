"""Pickles, read without executing them: plain containers and numbers, and the few names that the caller knows.

`pickletools` cuts a pickle into instructions. The machine here follows those that build plain values. It has no
instruction that imports or calls anything of Python: a name that it does not know ends the reading.
"""

import dataclasses
import pickletools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from vjax.errors import InputError
from vjax.text import shorten, visible

_MOST_INSTRUCTIONS = 2_000_000  # a checkpoint of 1,000 layers with its optimizer has about 100,000
_MOST_BITS = 128  # of a whole number; states of random generators have 128
_MOST_KEY = 2**60  # of a dict; larger numbers can be made to collide in its hash table

Builder = Callable[[tuple[Any, ...]], Any]


class Stream(Protocol):
    """What `pickletools` needs of a file; reading past the end must not allocate."""

    def read(self, size: int, /) -> bytes:
        """Returns up to `size` bytes."""
        ...

    def readline(self) -> bytes:
        """Returns the bytes up to the end of the line."""
        ...


@dataclasses.dataclass(frozen=True)
class Name:
    """A name of Python in a pickle, such as "torch.float16"; nothing is imported for it."""

    text: str


def interpret(stream: Stream, *, known: Mapping[str, Builder | None], find_stored: Builder) -> Any:
    """Returns the content of a pickle: dicts, lists, tuples, texts, numbers, names, and what the builders return.

    Sets become lists. The stream then stands behind the pickle.

    Args:
      stream: file of the pickle; `io.BytesIO` or `mmap`.
      known: full names that may occur, each with the function that gets the arguments where the pickle calls it; None
        where it may not be called.
      find_stored: function that gets the tuple of a persistent id, and returns its value.

    Raises:
      InputError: the pickle is damaged, or holds anything else; the message lacks the name of the file.
    """
    machine = _Machine(known, find_stored)
    for number, (instruction, argument) in enumerate(_instructions(stream)):
        if number >= _MOST_INSTRUCTIONS:
            raise InputError(f"its pickle has more than {_MOST_INSTRUCTIONS:,} instructions; no file of weights has")
        _follow(machine, instruction, argument)
    return machine.pop()


def damaged(why: str) -> InputError:
    """Returns the error for a pickle that torch.save did not write."""
    return InputError(f"its pickle is damaged ({why})")


def _instructions(stream: Stream) -> Iterator[tuple[str, Any]]:
    try:
        for instruction, argument, _ in pickletools.genops(stream):  # pyright: ignore[reportArgumentType]
            yield instruction.name, argument
    except ValueError as error:
        raise damaged(shorten(visible(str(error)[:200]), 100)) from error


class _Machine:
    """The stack and the memo of a pickle."""

    def __init__(self, known: Mapping[str, Builder | None], find_stored: Builder):
        self._known, self._find_stored = known, find_stored
        self._stack: list[Any] = []
        self._marks: list[int] = []  # sizes of the stack
        self._memo: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        if type(value) is int and value.bit_length() > _MOST_BITS:
            raise InputError(f"holds a number of {value.bit_length():,} bits; no file of weights has one")
        self._stack.append(value)

    def pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise damaged("a value is missing")
        return self._stack.pop()

    def top(self, kind: type = object) -> Any:
        value = self.pop()
        self._stack.append(value)
        if not isinstance(value, kind):
            raise damaged(f"a {type(value).__name__} where a {kind.__name__} belongs")
        return value

    def mark(self) -> None:
        self._marks.append(len(self._stack))

    def pop_marked(self) -> list[Any]:
        if not self._marks:
            raise damaged("a mark is missing")
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def memorize(self, index: int | None = None) -> None:
        if index is not None and not 0 <= index < _MOST_KEY:
            raise damaged(f"a value is memorized under a number of {index.bit_length()} bits")
        self._memo[len(self._memo) if index is None else index] = self.top()

    def recall(self, index: int) -> None:
        if index not in self._memo:
            raise damaged("a value that was never memorized")
        self.push(self._memo[index])

    def push_tuple(self, size: int) -> None:
        self.push(tuple([self.pop() for _ in range(size)][::-1]))

    def set_items(self, pairs: list[Any]) -> None:
        target = self.top(dict)
        if len(pairs) % 2:
            raise damaged("a key without a value")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            is_number = type(key) is int and abs(key) < _MOST_KEY
            if not (isinstance(key, str) or is_number):
                raise InputError(f"holds a dict whose key is a {type(key).__name__}; texts and small numbers are read")
            target[key] = value

    def push_dict(self, pairs: list[Any]) -> None:
        self.push({})
        self.set_items(pairs)

    def append(self, values: list[Any]) -> None:
        self.top(list).extend(values)

    def push_name(self, name: str) -> None:
        if name not in self._known:
            raise _refusal(name)
        self.push(Name(name))

    def push_joined_name(self) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise damaged("a name that is no text")
        self.push_name(f"{module}.{name}")

    def build(self) -> None:
        """Builds the value of a call of a known name."""
        arguments, called = self.pop(), self.pop()
        if not (isinstance(called, Name) and isinstance(arguments, tuple)):
            raise damaged("a call of something that is no name")
        builder = self._known.get(called.text)
        if builder is None:
            raise damaged(f"a call of {called.text}")
        self.push(builder(arguments))

    def drop_state(self) -> None:
        """Drops the attributes of a dict, such as the `_metadata` of a state dict."""
        self.pop()
        self.top(dict)

    def push_stored(self) -> None:
        identity = self.pop()
        if not isinstance(identity, tuple):
            raise damaged("a persistent id that is no tuple")
        self.push(self._find_stored(identity))


def _refusal(name: str) -> InputError:
    return InputError(
        f"holds {shorten(visible(name[:100]), 80)}, which is no tensor that vjax reads; vjax does not execute it. "
        "Save the tensors alone, with torch.save(network.state_dict(), FILE)"
    )


def _follow(machine: _Machine, instruction: str, argument: Any) -> None:
    """Follows one instruction; one that could make other objects than plain values is refused."""
    if instruction in _VALUES:
        machine.push(argument)
    elif instruction in _ACTIONS:
        _ACTIONS[instruction](machine, argument)
    elif instruction == "INST":  # the old way to make an object
        raise _refusal(argument.replace(" ", ".", 1))
    elif instruction not in _IGNORED:
        raise InputError(f"holds an object (instruction {instruction}), which is no tensor; vjax does not execute it")


_IGNORED = {"PROTO", "FRAME", "STOP"}
_VALUES = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
           "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE",
           "BINUNICODE", "BINUNICODE8"}  # fmt: skip
_ACTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    # Constants and containers.
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_SET": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "LIST": lambda machine, _: machine.push(machine.pop_marked()),
    "FROZENSET": lambda machine, _: machine.push(machine.pop_marked()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_marked())),
    "TUPLE1": lambda machine, _: machine.push_tuple(1),
    "TUPLE2": lambda machine, _: machine.push_tuple(2),
    "TUPLE3": lambda machine, _: machine.push_tuple(3),
    "DICT": lambda machine, _: machine.push_dict(machine.pop_marked()),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_marked()),
    "ADDITEMS": lambda machine, _: machine.append(machine.pop_marked()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_marked()),
    # The stack and the memo.
    "MARK": lambda machine, _: machine.mark(),
    "POP": lambda machine, _: machine.pop(),
    "POP_MARK": lambda machine, _: machine.pop_marked(),
    "DUP": lambda machine, _: machine.push(machine.top()),
    "MEMOIZE": lambda machine, _: machine.memorize(),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.memorize),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.recall),
    # Names, and values that the caller builds.
    "GLOBAL": lambda machine, name: machine.push_name(name.replace(" ", ".", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.push_joined_name(),
    "REDUCE": lambda machine, _: machine.build(),
    "BUILD": lambda machine, _: machine.drop_state(),
    "BINPERSID": lambda machine, _: machine.push_stored(),
}
