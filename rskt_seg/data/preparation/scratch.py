"""Temporary folders for archives in archives; what killed runs left is removed by a later one."""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

logger = logging.getLogger(__name__)

_PREFIX = "rskt_seg_prepare_"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a temporary folder (below TMPDIR), and remove it when the block ends.

    While it is in use, the system holds a lock on it, whatever container the process is in. What a killed run
    of the same user left can be locked, which tells it from what is in use.

    Yields:
        The folder.
    """
    with suppress(OSError):  # the folder of temporary files may not be readable
        for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            if left.stat().st_uid == os.getuid() and not left.is_symlink():
                _remove_unused(left)
    folder, lock = _make()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _make() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = _lock(folder)
        # Between both lines, another run may have taken the folder for one that nobody uses.
        if lock is not None and folder.exists():
            return folder, lock
        if lock is not None:
            os.close(lock)


def _remove_unused(folder: Path) -> None:
    lock = _lock(folder)
    if lock is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        logger.warning("%s: removed, a killed run had left it", folder)


def _lock(folder: Path) -> int | None:
    """Return an open folder, locked until it is closed; None if another process has it, or it is gone."""
    try:
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    return file
