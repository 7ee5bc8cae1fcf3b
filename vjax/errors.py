"""The error that a user can fix."""


class InputError(ValueError):
    """A wrong input; the message says what was given, what is allowed and what to do.

    It is raised where files, configs and arguments are read. The command line shows only its message, without a
    traceback; an exception that is a bug keeps its traceback.
    """
