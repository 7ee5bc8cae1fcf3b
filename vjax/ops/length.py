"""Lengths of training, in steps, epochs or examples, and their conversion to steps."""

import math
import re

from vjax.errors import InputError

Length = int | str

_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:(step|epoch|example)s?)?\s*")


def is_longer(length: Length, other: Length) -> bool:
    """Tells whether a length is greater than another one in the same unit; False if the units differ.

    >>> is_longer("3 epochs", "2 epochs"), is_longer(300, "200 steps"), is_longer("3 epochs", 200)
    (True, True, False)
    """
    here, there = _parse(length), _parse(other)
    return here is not None and there is not None and here[1] == there[1] and here[0] > there[0]


def to_steps(length: Length, *, batch_size: int, num_examples: int, what: str) -> int:
    """Converts a length to a whole number of steps, rounded up.

    Args:
      length: a number of steps, or a text such as "900 steps", "30 epochs", "0.5 epochs" or "100000 examples".
      batch_size: examples in a step, over all devices.
      num_examples: examples in an epoch, which are the videos of the training split.
      what: name of the length, for error messages.

    Raises:
      InputError: the length has none of these forms.

    >>> to_steps("2 epochs", batch_size=16, num_examples=100, what="config.length")
    13
    """
    found = _parse(length)
    if found is None:
        raise InputError(
            f"{what} is a number of steps, or a text such as '900 steps', '30 epochs' or '100000 examples', "
            f"got {length!r}"
        )
    number, unit = found
    # Rounding removes float errors before ceil: 0.07 epochs of 100 videos in batches of 1 are 7 steps, not 8.
    examples = number * {"epoch": num_examples, "example": 1}.get(unit, batch_size)
    return math.ceil(round(examples / batch_size, 6))


def _parse(length: Length) -> tuple[float, str] | None:
    """Returns the number and the unit of a length, or None if it is not one."""
    found = _PATTERN.fullmatch(str(length))
    return (float(found[1]), found[2] or "step") if found else None
