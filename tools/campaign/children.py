"""Running a command in a forked process: its output, its end, a kill at a chosen moment, limits."""

import json
import logging
import os
import resource
import selectors
import signal
import sys
import tempfile
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from campaign.guard import watch

Call = Callable[[], int | None]
_ROOM = 2 << 30
"""The most bytes of a file that any command may write: none of the campaign's needs a hundredth of it."""
_GRACE = 6.0
"""Seconds that the processes of a run that was killed have to end by themselves; torch looks every five."""


@dataclass(frozen=True)
class Kill:
    """A signal for a running command.

    Attributes:
        number: The signal.
        after: Seconds after the command began.
        group: Whether all its processes get it, as from a keyboard; else the first alone.
    """

    number: signal.Signals
    after: float
    group: bool = False


@dataclass
class Ended:
    """How a command ended.

    Attributes:
        status: Its exit status; negative for the signal that ended it; None if it was still running at its
            limit.
        output: What it wrote to standard output and error, in the order of writing.
        seconds: How long it ran.
        killed: Whether its kill came before its end.
        events: What it did that the guard noticed.
        orphans: Number of processes that it left behind.
    """

    status: int | None
    output: str
    seconds: float
    killed: bool = False
    events: list[tuple[str, str]] = field(default_factory=list)
    orphans: int = 0


class Child:
    """A command that runs in a forked process, in a folder and a process group of its own.

    Args:
        call: The command; what it returns is its exit status.
        folder: Its working folder. What it writes elsewhere is noticed.
        largest: The most bytes of a file that it may write.
    """

    def __init__(self, call: Call, folder: Path, largest: int = _ROOM) -> None:
        self.folder = folder
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        self._output, output = os.pipe()
        self._events, events = os.pipe()
        ready, told = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            _become(call, folder, largest, output, events, told)
        for end in (output, events, told):
            os.close(end)
        os.read(ready, 1)  # the command begins: imports and forking do not count
        os.close(ready)
        self.began = time.monotonic()

    def wait(self, limit: float, kill: Kill | None = None) -> Ended:
        """Wait for the end of the command, and kill it if it is asked for or the limit is over."""
        texts: dict[int, bytearray] = {self._output: bytearray(), self._events: bytearray()}
        status, killed = None, False
        with selectors.DefaultSelector() as selector:
            for end in texts:
                os.set_blocking(end, False)
                selector.register(end, selectors.EVENT_READ)
            try:
                while status is None and time.monotonic() < self.began + limit:
                    due = self.began + kill.after if kill and not killed else self.began + limit
                    _pump(selector, texts, min(0.02, max(0.0, due - time.monotonic())))
                    if kill and not killed and time.monotonic() >= self.began + kill.after:
                        killed = _send(self.pid, kill)
                    status = _poll(self.pid)
                seconds = time.monotonic() - self.began
                orphans = _clear(self.pid, patient=status is not None)
            finally:
                _end(self.pid, status is None)
                _pump(selector, texts, 0)
                for end in texts:
                    os.close(end)
        lines = texts[self._events].decode(errors="replace").splitlines()
        events = [tuple(json.loads(line)) for line in lines if line.endswith("]")]
        text = texts[self._output].decode(errors="replace").replace("\r", "\n")
        return Ended(status, text, seconds, killed, events, orphans)


def run(
    call: Call, folder: Path, limit: float = 60.0, kill: Kill | None = None, largest: int = _ROOM
) -> Ended:
    """Run a command to its end; see `Child`."""
    return Child(call, folder, largest).wait(limit, kill)


def _become(call: Call, folder: Path, largest: int, output: int, events: int, told: int) -> None:
    """Be the process of a command; never returns."""
    status = 70
    try:
        os.setpgid(0, 0)
        for end in (1, 2):
            os.dup2(output, end)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False, errors="backslashreplace")
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, errors="backslashreplace")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        weakref.finalize._registry.clear()  # what the campaign clears up at its own end
        _forget_logging()
        tqdm.set_lock(threading.RLock())  # its own is shared by all processes, and a killed one would keep it
        os.chdir(folder)
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
        sys.dont_write_bytecode = True
        threading.excepthook = lambda args: traceback.print_exception(args.exc_value)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        watch(folder, events)
        os.write(told, b"!")
        try:
            status = call() or 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except KeyboardInterrupt:  # before or after what the command guards
            status = 130
    except BaseException:
        traceback.print_exc()
    finally:
        # As at the end of any process: its threads finish, and its temporary folders are removed.
        threading._shutdown()
        weakref.finalize._exitfunc()
        sys.stdout.flush()
        os._exit(status & 255)


def _pump(selector: selectors.BaseSelector, texts: dict[int, bytearray], seconds: float) -> None:
    """Take what the command has written, waiting for it at most some seconds."""
    for key, _ in selector.select(seconds):
        while True:
            try:
                content = os.read(key.fd, 1 << 16)
            except BlockingIOError:
                break
            if not content:
                selector.unregister(key.fd)
                break
            texts[key.fd] += content


def _send(pid: int, kill: Kill) -> bool:
    (os.killpg if kill.group else os.kill)(pid, kill.number)
    return True


def _poll(pid: int) -> int | None:
    """Return the exit status of a process without collecting it, so that its number stays its own."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _clear(pid: int, patient: bool) -> int:
    """Return how many processes of a group outlive their time."""
    end = time.monotonic() + (_GRACE if patient else 0.0)
    while (others := _members(pid)) and time.monotonic() < end:
        time.sleep(0.02)
    return len(others)


def _members(group: int) -> Sequence[int]:
    """Return the living processes of a group but its first."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(group):
            try:
                state, _, number = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(number) == group and state != "Z":
                found.append(int(entry.name))
    return found


def _end(pid: int, running: bool) -> None:
    """End what is left of a group, and collect its first process."""
    if running or _members(pid):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _forget_logging() -> None:
    """Leave loggers as a new process has them: what ran before in this one may have set them up."""
    logging.root.handlers.clear()
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate, logger.disabled = True, False
