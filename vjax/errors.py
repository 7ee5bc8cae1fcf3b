"""The error a person can act on."""


class InputError(ValueError):
    """Something that was given does not work; the message says what, what is allowed and what to do.

    Raised where files, configs and arguments come in. The command line shows its message alone, without a
    traceback; every other exception is a bug and keeps its traceback.
    """
