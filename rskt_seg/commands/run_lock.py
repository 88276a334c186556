"""One run in a folder at a time: a lock file that says which process has it."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from rskt_seg.errors import ConfigError, UnreadableError
from rskt_seg.reading import parse_json

NAME = "run.lock"
"""Name of the lock file in the folder of a run."""
_LONGEST = 4096
"""The most bytes of a lock file that are read."""
_TRIES = 20
"""How often a lock is looked at that others take and release at the same time."""


@dataclass(frozen=True)
class Owner:
    """The process that has a folder.

    Attributes:
        host: Name of its machine.
        pid: Its id there.
        start: What tells it from a later process with the same id; "" where the system does not say.
        since: When it took the folder, as people write it.
        work: What it does, such as "training".
    """

    host: str
    pid: int
    start: str
    since: str
    work: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.work} since {self.since})"


_FIELDS = {"host": str, "pid": int, "start": str, "since": str, "work": str}


@contextmanager
def run_lock(folder: Path, work: str) -> Iterator[str]:
    """Hold a folder for one run; it is made if it is missing, and removed again if it stays empty.

    The lock is a file that the system locks too, so that a killed process holds nothing, whatever the file
    says. It is removed when the block ends, however it does.

    Args:
        folder: The output folder.
        work: What the run does, for the message that others get.

    Yields:
        "", or a line about a run that was killed in this folder, whose lock was taken over.

    Raises:
        ConfigError: Another run has the folder, or may have it, or no file can be made in it.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file, note = _take(path, work)
    except OSError as error:
        _remove(missing)
        raise ConfigError(
            f"OUTPUT_DIR {folder} cannot be written to ({error.strerror}); choose another"
        ) from error
    try:
        yield note
    finally:
        path.unlink(missing_ok=True)
        os.close(file)
        _remove(missing)


def _remove(folders: list[Path]) -> None:
    with suppress(OSError):  # one that is not empty stays, and so do those above it
        for folder in folders:
            folder.rmdir()


def _take(path: Path, work: str) -> tuple[int, str]:
    """Return the open lock file, and a line about the lock that it replaces; raise if another run has it."""
    for _ in range(_TRIES):
        with suppress(FileExistsError):
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
            try:
                _lock(file)
                _sign(file, work)
            except OSError:
                path.unlink(missing_ok=True)
                os.close(file)
                raise
            return file, ""
        with suppress(FileNotFoundError):  # the other run has ended meanwhile
            file, note = os.open(path, os.O_RDWR), ""
            try:
                note = _take_over(path, file, work)
            finally:
                if not note:
                    os.close(file)
            if note:
                return file, note
        time.sleep(0.05)
    raise ConfigError(f"{path.parent} is taken by one run after the other; choose another OUTPUT_DIR")


def _take_over(path: Path, file: int, work: str) -> str:
    """Sign the lock of a run that is gone; return a line about it, "" if the lock has changed meanwhile."""
    owner = _read(path, file)
    if owner.host != socket.gethostname():
        raise ConfigError(
            f"{path.parent} is in use by {owner}, another machine than this; if that run is gone, remove "
            f"{path}, else choose another OUTPUT_DIR"
        )
    if not _lock(file) or _lives(owner):
        raise ConfigError(
            f"{path.parent} is in use by {owner}; wait until it ends, or choose another OUTPUT_DIR"
        )
    # Two runs can see that the owner is gone: the one that locks the file later finds the other in it.
    if not os.path.samestat(os.fstat(file), path.stat()) or _read(path, file) != owner:
        return ""
    os.ftruncate(file, 0)
    _sign(file, work)
    return f"{path}: taken over from {owner}, which is gone"


def _lock(file: int) -> bool:
    """Lock a file until this process ends or closes it; return False if another process has done so."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks: what the file says has to do
        return True
    return True


def _sign(file: int, work: str) -> None:
    """Write this process into an empty lock file."""
    pid = os.getpid()
    since = time.strftime("%Y-%m-%d %H:%M:%S %z")
    owner = Owner(socket.gethostname(), pid, _start_of(pid), since, work)
    os.pwrite(file, f"{json.dumps(asdict(owner))}\n".encode(), 0)


def _read(path: Path, file: int) -> Owner:
    """Return who has signed an open lock file."""
    try:
        # Not by the path: closing another handle of a file would release the lock on this one.
        facts = parse_json(os.pread(file, _LONGEST, 0).decode())
        if not isinstance(facts, dict) or {name: type(value) for name, value in facts.items()} != _FIELDS:
            raise UnreadableError("it names no process")
    except (UnreadableError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} does not say which run has this folder (one may just be starting); if none has, remove "
            "that file, else choose another OUTPUT_DIR"
        ) from error
    return Owner(**facts)


def _lives(owner: Owner) -> bool:
    """Return whether the process of this machine that signed a lock still runs."""
    if owner.start:
        return _start_of(owner.pid) == owner.start
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def _start_of(pid: int) -> str:
    """Return the boot and the time in it at which a process began; "" if it is gone or the system is mute."""
    try:
        state, *facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return "" if state == "Z" else f"{boot} {facts[18]}"
