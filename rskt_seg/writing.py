"""Atomic writing of files: a file appears whole or not at all."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a hidden temporary file beside `path` and rename it to `path` when the block ends.

    The parent folder is created. Every thread of every process has a temporary file of its own: of several
    writers of one path, the last to finish wins, with a complete file.

    Args:
        path: The file to write or to replace.

    Yields:
        The temporary file to write to. If the block raises, it is removed and `path` is left as it was; a
        process killed inside the block leaves it behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
