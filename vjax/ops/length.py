"""How long something lasts: in steps, epochs or examples, by one rule."""

import math
import re

from vjax.errors import InputError

Length = int | str

_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(step|epoch|example)?s?\s*")


def is_length(text: str) -> bool:
    """Returns whether a text says a length, such as "30 epochs"."""
    return _PATTERN.fullmatch(text) is not None


def to_steps(length: Length, *, batch_size: int, num_examples: int, what: str) -> int:
    """Returns a length in whole steps, rounded up.

    Args:
      length: a number of steps, or "900 steps", "30 epochs", "0.5 epochs", "100000 examples".
      batch_size: examples in a step, over all devices.
      num_examples: in an epoch: the videos of the training split.
      what: the length is of, for error messages.

    Raises:
      InputError: it is none of these.

    >>> to_steps("2 epochs", batch_size=16, num_examples=100, what="config.length")
    13
    """
    found = _PATTERN.fullmatch(str(length))
    if found is None:
        raise InputError(
            f"{what} is a number of steps, or a text such as '900 steps', '30 epochs' or '100000 examples', "
            f"got {length!r}"
        )
    number, unit = float(found[1]), found[2]
    # Exact for numbers that a float holds: 0.1 epochs of 1000 videos in batches of 10 are 10 steps and not 11.
    examples = number * {"epoch": num_examples, "example": 1}.get(unit, batch_size)
    return math.ceil(round(examples / batch_size, 6))
