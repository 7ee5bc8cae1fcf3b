"""Runs a command: an error that the user can fix becomes one line on stderr and an exit code."""

import argparse
import errno
import logging
import os
import sys
from collections.abc import Sequence

import jax
import tensorflow_datasets as tfds

from vjax.errors import InputError
from vjax.runtime.compilation import keep_compiled_programs
from vjax.runtime.interrupt import EXIT_INTERRUPTED, LINE
from vjax.runtime.memory import keep_freed_memory
from vjax.training.loop import Interrupted

EXIT_REQUEUE = 75  # EX_TEMPFAIL of sysexits.h: try again
_STORAGE_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EIO,
    errno.ESTALE,
    errno.ENOTDIR,
)


def run_command(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parses the arguments and runs the command that they name; returns its exit code."""
    # The arguments. Overrides such as --config.KEY=VALUE are not known to the parser; the command parses them.
    args, rest = parser.parse_known_args(argv)
    overrides = [word for word in rest if word.startswith(args.overridden)] if hasattr(args, "overridden") else []
    unknown = [word for word in rest if word not in overrides]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    # Settings of the process.
    keep_freed_memory()
    keep_compiled_programs()
    # Orbax and TFDS warn about intended use, and log errors that they also raise; matplotlib tells about its fonts.
    for name in ("absl", "asyncio", "matplotlib"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    # The command. Errors that are not caught here are bugs and keep their traceback.
    try:
        return args.command(args, overrides) or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of the pipe has exited, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        # An error of a named file comes from the place where it lies: its permissions, its folder, its disk.
        if error.filename is None and error.errno not in _STORAGE_ERRORS:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"error: {where}{error.strerror}; fix this and run the same command again to continue", file=sys.stderr)
        return 2
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return EXIT_REQUEUE
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        print(
            f"error: another process of this run has died ({str(error).splitlines()[0][:200]}); run the same command "
            "again in every process to continue from the newest checkpoint",
            file=sys.stderr,
        )
        return EXIT_REQUEUE
    except KeyboardInterrupt:
        print(LINE, file=sys.stderr)
        return EXIT_INTERRUPTED
