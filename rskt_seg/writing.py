"""Atomic writing of files: a file appears whole or not at all, and a full disk is one line."""

import errno
import fcntl
import glob
import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rskt_seg.errors import DiskFullError, causes

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of this user is used up",
    errno.EFBIG: "the file would be larger than this system or `ulimit -f` allows",
}

_PARTIAL = re.compile(r"\..+\.(\d{1,10})\.(\d{1,20})\.part", re.DOTALL)


def _partial_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")


def remove_unfinished(folder: Path, beginning: str = "") -> list[Path]:
    """Remove the temporary files and folders that killed processes have left in a folder.

    They are told by their names, in which those of `replacing` and `replacing_with_companions` state process
    and thread. A process of another machine is not known here: whoever calls this holds a lock on the folder.

    Args:
        folder: The folder, which need not exist; its own folders are not searched.
        beginning: That of the names of the files that were to be written.

    Returns:
        What was removed. What a living process of this machine writes stays.
    """
    removed = []
    for path in sorted(folder.glob(f".{glob.escape(beginning)}*.part")):
        name = _PARTIAL.fullmatch(path.name)
        if name is None or _lives(int(name[1]), int(name[2])):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        removed.append(path)
    return removed


def remove_at_once(folder: Path) -> None:
    """Remove a folder with all that is in it.

    It loses its name first: a process killed meanwhile leaves nothing that looks complete, and what it leaves
    is found by `remove_unfinished` of the parent.

    Args:
        folder: The folder, which need not exist.
    """
    aside = _partial_name(folder)
    with suppress(FileNotFoundError):
        os.replace(folder, aside)
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def only_one(path: Path) -> Iterator[bool]:
    """Yield whether nobody else is in such a block for the same file, by a lock that ends with the process.

    Args:
        path: A file that is made for it, in an existing folder, and stays.

    Yields:
        True if this process is the only one, or the file system has no locks.

    Raises:
        OSError: The file cannot be made.
    """
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # of file systems without locks
            pass
        yield True


def _lives(process: int, thread: int) -> bool:
    """Return whether a process of this machine runs; of this process, whether the thread does."""
    if process == os.getpid():  # or an earlier one had the same number, as in containers
        return thread in {each.ident for each in threading.enumerate()}
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return True


@contextmanager
def replacing(path: str | os.PathLike[str], size: int | None = None) -> Iterator[Path]:
    """Yield a hidden temporary file beside `path` and rename it to `path` when the block ends.

    The parent folder is created. Every thread of every process has a temporary file of its own: of several
    writers of one path, the last to finish wins, with a complete file.

    Args:
        path: The file to write or to replace.
        size: About how many bytes it will have, for the message if there is no room; None if unknown.

    Yields:
        The temporary file to write to. If the block raises, it is removed and `path` is left as it was; a
        process killed inside the block leaves it behind (see `remove_unfinished`).

    Raises:
        DiskFullError: There is no room for the file.
    """
    path = Path(path)
    with naming_full_disk(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _partial_name(path)
        try:
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def replace_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file whole or not at all, in UTF-8 whatever the locale says.

    Args:
        path: The file to write or to replace.
        text: Its content. Surrogates, by which Python keeps bytes of names that are not UTF-8, are written as
            `\\udce9` and the like, which JSON reads back as they were.

    Raises:
        DiskFullError: There is no room for the file.
    """
    with replacing(path) as partial:
        partial.write_bytes(text.encode("utf-8", "backslashreplace"))


@contextmanager
def naming_full_disk(path: Path, size: int | None = None) -> Iterator[None]:
    """Raise `DiskFullError` with the name of a file in place of a block's error for want of room.

    Args:
        path: The file that the block writes, or the folder that it writes to.
        size: About how many bytes the block writes; None if unknown.

    Raises:
        DiskFullError: The disk is full, a quota is used up or a limit of file sizes is reached. One of the
            block that names a file itself stays as it is.
    """
    try:
        yield
    except Exception as error:
        cause = no_room(error)
        if cause is None:
            raise
        if isinstance(cause, DiskFullError):
            raise cause from None
        raise DiskFullError(_describe(path, _FULL[cause.errno or 0], size)) from error


def no_room(error: BaseException) -> OSError | None:
    """Return the error of a full disk, a quota or a limit of file sizes that another one comes from.

    Libraries raise errors of their own for it, PyTorch a `RuntimeError`, and clearing up can fail as well.

    Args:
        error: Any error.

    Returns:
        The error, which may be `error` itself; None if there is none.
    """
    found: OSError | None = None
    for cause in causes(error):
        if isinstance(cause, DiskFullError):  # it names the file
            return cause
        if found is None and isinstance(cause, OSError) and cause.errno in _FULL:
            found = cause
    return found


def _describe(path: Path, reason: str, size: int | None) -> str:
    folder = next(each for each in (path, *path.parents) if each.is_dir())
    free = shutil.disk_usage(folder).free
    needed = "" if size is None else f"it needs {_megabytes(size)}, and "
    return (
        f"{path} cannot be written: {reason}; {needed}{_megabytes(free)} are free in {folder}. Make room and "
        "give the command again; complete files are unchanged"
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


@contextmanager
def replacing_with_companions(path: str | os.PathLike[str], companions: Sequence[str]) -> Iterator[Path]:
    """Replace `path` together with the files beside it that belong to it, such as `a.tif.aux.xml` to `a.tif`.

    As `replacing`, but the block writes into a hidden temporary folder beside `path`, where the file has its
    final name and companions can be made. Companions of the former file that the new one lacks are removed,
    because they describe data that is gone. `path` itself is renamed last.

    Args:
        path: The file to write or to replace.
        companions: Names of the companions, such as "a.tif.aux.xml".

    Yields:
        The temporary file to write to. If the block or a renaming fails, `path` and its companions are left
        as they were, and nothing else is left; a process killed inside the block leaves the folder behind.

    Raises:
        DiskFullError: There is no room for the files.
    """
    path = Path(path)
    with naming_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        work = _partial_name(path)
        shutil.rmtree(work, ignore_errors=True)  # of a killed process that had the same number
        work.mkdir()
        former: list[Path] = []
        placed: list[Path] = []
        try:
            yield work / path.name
            for companion in map(path.with_name, companions):
                if companion.exists():
                    os.replace(companion, work / f"former-{companion.name}")
                    former.append(companion)
                if (work / companion.name).exists():
                    os.replace(work / companion.name, companion)
                    placed.append(companion)
            os.replace(work / path.name, path)
        except BaseException:
            for companion in placed:
                companion.unlink()
            for companion in former:
                os.replace(work / f"former-{companion.name}", companion)
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
