"""Stopping by SIGTERM: with the manners of an interrupt from the keyboard, and no process left behind."""

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from types import FrameType

from rskt_seg.errors import causes

_Handler = Callable[[int, FrameType | None], None]
_SOON = 0.05
"""Seconds after which a signal that was dropped is sent again."""
STATUS = 128 + signal.SIGTERM
"""Exit status of a program that SIGTERM ended, as shells report it."""


class Terminated(SystemExit):
    """SIGTERM asked this process to end. Like `KeyboardInterrupt` it is no `Exception`."""

    def __init__(self) -> None:
        super().__init__(STATUS)


def _give_signals_a_stack() -> None:
    """Let handlers of signals run on a stack of their own in the main thread, as `faulthandler` sets it up.

    Kernels of oneDNN for AVX-512, which compute packed linear layers, keep values below the stack pointer. A
    handler on the same stack overwrites them: the process that is asked to end aborts with a damaged heap.
    """
    if sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)


@contextmanager
def terminating() -> Iterator[None]:
    """Raise `Terminated` in the block if SIGTERM arrives; a second one ends the process at once.

    Outside of the main thread, and where SIGTERM has a handler already, nothing changes.

    Raises:
        Terminated: SIGTERM arrived, also if the block raised something else because of it.
    """
    free = threading.current_thread() is threading.main_thread()
    if not free or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    received = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        received.set()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    _give_signals_a_stack()
    signal.signal(signal.SIGTERM, stop)
    try:
        with _nothing_swallowed(Terminated, signal.SIGTERM, stop):
            yield
    except Exception as error:
        if received.is_set():
            raise Terminated from error
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Interrupt:
    """A handler of SIGINT that does what Python's does, and remembers it."""

    def __init__(self) -> None:
        self.received = threading.Event()

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.received.set()
        raise KeyboardInterrupt


@contextmanager
def interrupting() -> Iterator[None]:
    """Raise `KeyboardInterrupt` if an interrupt arrives in the block, whatever a library makes of it.

    Libraries turn it into errors of their own when it comes while they clear up, and Python prints a
    traceback and goes on when it comes while an object is destroyed. Outside of the main thread, and where
    SIGINT has another handler than Python's, nothing changes.

    Raises:
        KeyboardInterrupt: An interrupt arrived.
    """
    free = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    if not free or not (handler is signal.default_int_handler or isinstance(handler, _Interrupt)):
        yield
        return
    interrupt = _Interrupt()
    signal.signal(signal.SIGINT, interrupt)
    try:
        with _nothing_swallowed(KeyboardInterrupt, signal.SIGINT, interrupt):
            yield
    except Exception as error:
        if interrupt.received.is_set():
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def _nothing_swallowed(
    kind: type[BaseException], number: signal.Signals, handler: _Handler
) -> Iterator[None]:
    """Send a signal again if its error was raised where Python drops it: in a destructor, or in a fork."""
    timers: list[threading.Timer] = []
    former = sys.unraisablehook

    def tell(unraisable: "sys.UnraisableHookArgs") -> None:
        if not isinstance(unraisable.exc_value, kind):
            former(unraisable)
            return
        signal.signal(number, handler)
        timers.append(threading.Timer(_SOON, os.kill, (os.getpid(), number)))
        timers[-1].daemon = True
        timers[-1].start()

    sys.unraisablehook = tell
    try:
        yield
        if timers:
            raise kind
    finally:
        for timer in timers:
            timer.cancel()
        sys.unraisablehook = former


def was_stopped(error: BaseException) -> bool:
    """Return whether an error comes from an interrupt or SIGTERM, of which a library has made it.

    Args:
        error: Any error.
    """
    return any(isinstance(cause, KeyboardInterrupt | Terminated) for cause in causes(error))


def stop_children(spared: Collection[BaseProcess] = (), grace: float = 5.0) -> None:
    """End the processes that this one has started by `multiprocessing`, and wait for them.

    Args:
        spared: Those that stay.
        grace: Seconds from asking by SIGTERM to ending by SIGKILL.
    """
    children = [child for child in multiprocessing.active_children() if child not in spared]
    for child in children:
        child.terminate()
    end = time.monotonic() + grace
    for child in children:
        child.join(max(0.0, end - time.monotonic()))
        if child.is_alive():
            child.kill()
            child.join()
