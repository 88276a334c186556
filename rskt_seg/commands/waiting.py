"""How the threads of a command wait for each other, so that it slows down in proportion on a shared machine.

A thread of GCC's OpenMP, which PyTorch's wheels for Linux bring along, spins for milliseconds when it waits.
Where other processes have the cores, it spins away the time that the thread it waits for needs.
"""

import os

SPIN_COUNT = "GOMP_SPINCOUNT"
_CHOICES = (SPIN_COUNT, "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
_BRIEF = "1000"
"""What the library itself takes where it knows of more threads than cores; tens of microseconds."""


def wait_briefly() -> None:
    """Let threads of OpenMP sleep soon when they wait, unless the user has chosen how they wait.

    The library reads it from the environment when it is loaded, with torch; processes that are started
    inherit it. No number depends on it.
    """
    if not any(name in os.environ for name in _CHOICES):
        os.environ[SPIN_COUNT] = _BRIEF


def describe_waiting(threads: int) -> str:
    """Return a line for the log on how threads wait; "" if there is one thread, or the library's own way.

    Args:
        threads: Number of threads of this process.
    """
    if threads == 1 or SPIN_COUNT not in os.environ:
        return ""
    return (
        f"{threads} threads, which sleep when they have waited for {os.environ[SPIN_COUNT]} turns "
        f"({SPIN_COUNT}) and leave the cores to others; OMP_WAIT_POLICY=ACTIVE suits a machine of your own"
    )
