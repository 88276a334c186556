"""What the commands share: their parser, their output, and one clear line for a user's mistake."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from rskt_seg.errors import RSKTSegError

PROGRAM = "rskt-seg"


def command_parser(
    name: str, description: str | None, *, allow_abbrev: bool = True
) -> argparse.ArgumentParser:
    """Return a parser without flags for the subcommand `name`; `description` keeps its line breaks."""
    return argparse.ArgumentParser(
        f"{PROGRAM} {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=allow_abbrev,
    )


def echo(text: str) -> None:
    """Write `text` and an end of line to standard output."""
    sys.stdout.write(f"{text}\n")


def run(work: Callable[[], int | None], command: str | None = None) -> int:
    """Call `work` and turn its outcome into an exit status.

    Args:
        work: what a command does; None counts as status 0.
        command: the subcommand of `rskt-seg` that error messages begin with; None stands for the script
            that was started.

    Returns:
        What `work` returns; 2 after an `RSKTSegError`, whose message goes to standard error as one line; 130
        after an interrupt from the keyboard; 141 if the reader of the output has gone (`... | head`). Any
        other exception is a defect of the program and keeps its traceback.
    """
    try:
        status = work() or 0
        sys.stdout.flush()
        return status
    except RSKTSegError as error:
        name = Path(sys.argv[0]).name if command is None else f"{PROGRAM} {command}"
        sys.stderr.write(f"{name}: error: {' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:
        # Python would try to flush the rest at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
