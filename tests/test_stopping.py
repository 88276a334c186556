"""Ending the processes that a run has started."""

import multiprocessing
import signal
import time

from rskt_seg.stopping import stop_children


def deaf(ready) -> None:
    """Ignore SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready.set()
    time.sleep(60)


def test_children_end_even_if_they_ignore_sigterm_and_those_of_the_caller_stay():
    context = multiprocessing.get_context("fork")
    ready = [context.Event(), context.Event()]
    own, other = (context.Process(target=deaf, args=(each,)) for each in ready)
    own.start()
    other.start()
    assert all(each.wait(10) for each in ready)
    try:
        began = time.monotonic()
        stop_children([own], grace=0.2)
        assert time.monotonic() - began < 5
        assert not other.is_alive() and other.exitcode == -signal.SIGKILL
        assert own.is_alive()
    finally:
        own.kill()
        own.join()
