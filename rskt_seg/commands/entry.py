"""What the commands share: their parser, their output, and one clear line for a user's mistake."""

import argparse
import errno
import io
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from rskt_seg.commands.waiting import wait_briefly
from rskt_seg.errors import RSKTSegError
from rskt_seg.quoting import show_hidden, visible
from rskt_seg.reading import RENAME, brief
from rskt_seg.stopping import STATUS, Terminated, interrupting, terminating

_NO_NAME = (errno.ENAMETOOLONG, errno.ELOOP)
"""What the system says of names that it does not take, and of links to themselves."""


def command_parser(
    program: str, description: str | None, *, allow_abbrev: bool = True
) -> argparse.ArgumentParser:
    """Return a parser without flags for a program of this name; `description` keeps its line breaks.

    Args:
        program: The name that usage and errors give, such as "rskt-seg check".
        description: The text above the flags, often the docstring of the module.
        allow_abbrev: Whether a flag may be cut to the letters that tell it from others.

    Returns:
        The parser.
    """
    return argparse.ArgumentParser(
        program,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=allow_abbrev,
    )


def positive(text: str) -> int:
    """Parse a number above 0, as the type of an argument of argparse.

    Raises:
        argparse.ArgumentTypeError: It is something else.
    """
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0; found {text}")
    return int(text)


def place(text: str) -> Path:
    """Parse the name of a file or folder, as the type of an argument of argparse.

    Raises:
        argparse.ArgumentTypeError: It is empty, as that of a variable which is not set; it would be the
            current folder.
    """
    if not text:
        raise argparse.ArgumentTypeError("expected a file or folder; found an empty name")
    return Path(text)


def log_to_stderr() -> None:
    """Write the log to standard error, one line a message, without what a terminal would obey."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(show_hidden)


def echo(text: str) -> None:
    """Write `text` and an end of line to standard output, at once."""
    sys.stdout.write(f"{visible(text)}\n")
    sys.stdout.flush()


def run(work: Callable[[], int | None], program: str | None = None) -> int:
    """Call `work` and turn its outcome into an exit status.

    It sets the environment of the process by `wait_briefly`.

    Args:
        work: What a command does; None counts as status 0.
        program: The name that error messages begin with, such as "rskt-seg check"; None stands for that of
            the script that was started.

    Returns:
        What `work` returns; 2 after an `RSKTSegError`, whose message goes to standard error as one line, and
        after a name of a file that the file system, the locale or a library does not take; 130
        after an interrupt from the keyboard; 141 if the reader of the output has gone (`... | head`). Any
        other exception is a defect of the program and keeps its traceback.
    """
    wait_briefly()
    if isinstance(sys.stdout, io.TextIOWrapper):  # names and class names may have what the terminal has not
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with terminating(), interrupting():
            status = work() or 0
            sys.stdout.flush()
        return status
    except RSKTSegError as error:
        message = visible(" ".join(str(error).split()))
        sys.stderr.write(f"{program or Path(sys.argv[0]).name}: error: {message}\n")
        return 2
    except UnicodeEncodeError as error:
        sys.stderr.write(f"{program or Path(sys.argv[0]).name}: error: {_describe_name(error)}\n")
        return 2
    except BrokenPipeError:
        # Python would try to flush the rest at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in _NO_NAME:
            raise
        name, why = brief(error.filename), os.strerror(error.errno)
        sys.stderr.write(f"{program or Path(sys.argv[0]).name}: error: {name} is no name of a file: {why}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except Terminated:
        sys.stderr.write("terminated\n")
        return STATUS


def _describe_name(error: UnicodeEncodeError) -> str:
    """Return what to do about a name or a text that a file system, a library or an output does not take."""
    text = brief(error.object)
    if error.encoding == "utf-8":
        return f"{text} is not UTF-8; {RENAME}"
    return (
        f"{text} cannot be used, because the locale of this process knows only {error.encoding}; set "
        "LC_ALL=C.UTF-8, or PYTHONUTF8=1"
    )
