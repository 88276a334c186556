"""What the command-line entries share: one clear line for a user's mistake, never a traceback."""

import os
import sys
from collections.abc import Callable

from rskt_seg.errors import RSKTSegError


def run(main: Callable[[], int | None]) -> int:
    """Call `main` and turn its outcome into an exit status.

    Returns what `main` returns (None counts as 0); 2 after an `RSKTSegError`, whose message goes to
    standard error as one line; 130 after an interrupt from the keyboard; 141 where whatever read the
    output has gone (`... | head`). Any other exception is a defect of the program and keeps its traceback.
    """
    try:
        status = main() or 0
        sys.stdout.flush()
        return status
    except RSKTSegError as error:
        name = os.path.basename(sys.argv[0])
        sys.stderr.write(f"{name}: error: {' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:
        # Python would try to flush the rest at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
